// What only a live study's page has, loaded where the study is one: the queue, what visitors are shown now, and the map.
import { byId, el, fill, setText } from "./parts.js";
import * as queue from "./queue.js";

let mark = "", asking = false, found = null, segment = "";

const percent = (share, digits = 0) => `${(share * 100).toFixed(digits).replace("-", "−")} %`;
const change = (effect) => { const rounded = Math.round(effect * 100); return `${rounded > 0 ? "+" : ""}${percent(rounded / 100)}`; };
const span = (low, high) => `${change(low).replace(" %", "")} to ${change(high)}`;
const count = (n) => Math.round(n).toLocaleString("en");
const price = (n) => n.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const all = "all visitors";
const plain = (name) => name.replaceAll("=", ": ").replaceAll(";", ", ");

/** Follow what the server says has changed; `token` is "" for who may only look, `ask` sends a wish. */
export function follow(now, token, ask) {
  if (!byId("shown-now")) lay();
  queue.follow(now.queue, token, ask, (section) => byId("shown-now").before(section));
  told(now.map);
}

async function told(now) {
  if (now === mark || asking) return;
  asking = true;
  try {
    const answer = await fetch("api/live"), said = await answer.json();
    if (!answer.ok || said.said) setText(byId("live-said"), said.said);
    else { found = said; setText(byId("live-said"), ""); draw(); }
    mark = said.mark ?? "";
  } catch { /* asked again with the next word from the server */ }
  asking = false;
}

/** The parts of the page, above those that every study has. */
function lay() {
  document.head.append(el("link", { rel: "stylesheet", href: "/live.css" }));
  const choose = el("select", { id: "segment" });
  choose.addEventListener("change", () => { segment = choose.value; draw(); });
  const files = ["svg", "csv", "json"].map((kind) => el("a", { href: `api/map.${kind}`, download: `map.${kind}` }, { svg: "picture", csv: "CSV", json: "JSON" }[kind]));
  document.querySelector("main > .wide").prepend(
    el("section", { class: "card live", id: "shown-now", "aria-labelledby": "h-shown-now" },
      el("h2", { id: "h-shown-now" }, "Visitors"), el("p", { id: "live-said", class: "quiet" }, "working it out…"), el("p", { class: "simulated", id: "simulated", hidden: true }, "SIMULATED AUDIENCE: nothing here says what real people like"),
      el("p", { class: "halt", id: "halt", hidden: true }), el("dl", { class: "sums", id: "sums" }), el("h3", { id: "h-now" }, "What everybody is shown now"), el("p", { class: "quiet", id: "plan" }), el("div", { class: "scroll", id: "now" })),
    el("section", { class: "card live", id: "resonates", "aria-labelledby": "h-resonates" },
      el("h2", { id: "h-resonates" }, "What resonates"),
      el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "The map as a picture" }, el("img", { id: "drawn", class: "drawn", alt: "The map as a picture; the table below says the same in words.", hidden: true })),
      el("div", { class: "bar" }, el("label", { for: "segment" }, "The table is of"), choose, el("span", { class: "files" }, "The map as", ...files)),
      el("div", { class: "scroll", id: "places" })));
  const under = document.querySelector(".card.now"); // levels are not run one after the other; what is open is in the queue and in the map
  if (under) under.hidden = true;
}

function draw() {
  byId("simulated").hidden = !found.simulated;
  byId("halt").hidden = !found.halt;
  setText(byId("halt"), found.halt);
  sums();
  segments();
  setText(byId("h-now"), segment ? `What is shown now where ${plain(segment)}` : "What everybody is shown now");
  fill(byId("now"), JSON.stringify([found.now, segment]), () => [now()]);
  const at = found.plan ? new Date(found.plan.at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "";
  setText(byId("plan"), found.plan ? `Plan ${found.plan.number} of ${at}. ${percent(found.plan.holdout)} of all, the holdout, always see the defaults and are counted in.` : "There is no plan yet.");
  const picture = byId("drawn"), source = `api/map.svg?${encodeURIComponent(found.mark)}`;
  if (found.size && picture.getAttribute("src") !== source) {
    [picture.width, picture.height] = found.size;
    picture.src = source;
    picture.alt = `The map as a picture; the table below says the same in words. ${found.summary}`;
    picture.hidden = false;
  }
  fill(byId("places"), JSON.stringify([found.rows, segment]), () => [places()]);
}

function sums() {
  const [effect, low, high] = found.lift, rate = found.exposures ? found.outcomes / found.exposures : null;
  const measured = effect != null && found.outcomes;
  const figures = [
    ["visitors today", count(found.today), "who came for the first time"],
    ["lift against the holdout", measured ? change(effect) : "–", measured ? `${span(low, high)}, at all looks together` : "not known yet"],
    [found.metric, rate == null ? "–" : percent(rate, 2), "of those who count"],
    ["visitors who count", count(found.exposures), found.days ? `in ${Math.round(found.days)} days` : "their window is over"],
  ];
  fill(byId("sums"), JSON.stringify(figures), () => figures.map(([name, value, beside]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("span", {}, value), el("small", {}, beside)))));
}

function segments() {
  const names = found.segments;
  if (!names.includes(segment)) segment = "";
  fill(byId("segment"), JSON.stringify(names), () => names.map((name) => el("option", { value: name, selected: name === segment }, name ? plain(name) : all)));
  byId("segment").disabled = names.length < 2;
}

const words = (one) => el("td", { class: "text" }, one.text || one.level, one.text && one.text !== one.level ? el("small", {}, one.level) : null);
const heading = (name, columns) => el("tr", {}, el("th", { scope: "rowgroup", colspan: columns }, name));

function table(caption, titles, rows, row) {
  const groups = [...new Set(rows.map((one) => one.variable))];
  const head = el("thead", {}, el("tr", {}, ...titles.map(([name, kind]) => el("th", { scope: "col", class: kind ?? "" }, name))));
  return el("table", {}, el("caption", { class: "unseen" }, caption), head,
    ...groups.map((name) => el("tbody", {}, heading(name, titles.length), ...rows.filter((one) => one.variable === name).map(row))));
}

function now() {
  const own = found.now.filter((one) => one.segment === segment), rows = own.length ? own : found.now.filter((one) => !one.segment);
  if (!rows.length) return el("p", { class: "quiet" }, "Nobody is shown anything yet.");
  return table("What everybody is shown now", [["words"], ["of visitors", "share"]], rows, (one) => el("tr", {}, words(one),
    el("td", { class: "share" }, el("div", {}, el("progress", { max: "1", value: one.share, "aria-label": `${one.variable}, ${one.level}` }), el("span", {}, percent(one.share))))));
}

function places() {
  const rows = found.rows.filter((one) => one.segment === segment);
  if (!rows.length) return el("p", { class: "quiet" }, segment ? "Nothing is known of these visitors by themselves yet." : "Nothing is known yet.");
  const titles = [["words"], ["stands"], ["effect, 95 %", "r"], ["likely best", "r likely"], ["people", "r"]];
  return table(`What resonates with ${segment ? plain(segment) : all}`, titles, rows, (one) => el("tr", {}, words(one),
    el("td", { class: `stands s-${one.word.split(" ")[0]}`, title: one.why }, one.word, one.default || !one.why ? null : el("small", { class: "unseen" }, one.why)),
    el("td", { class: "r" }, ...(one.default ? [""] : [change(one.effect), el("small", {}, span(one.low, one.high))])),
    el("td", { class: "r likely" }, percent(one.p_best)), el("td", { class: "r" }, one.shown ? count(one.shown) : "", one.each == null ? null : el("small", { class: "each" }, `${price(one.each)} an outcome`))));
}
