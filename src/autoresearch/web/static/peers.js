// The swarm: who is in it, boards, findings, how far they carry, and the map of who took up what, step by step.
import { byId, el, fill, number, setText, signed } from "./parts.js";

const TABS = { "peer-map": "Map", "peer-list": "Peers", "peer-boards": "Boards", "peer-findings": "Findings", "peer-carried": "Carry" };
const DRAWN = new Set(["circle", "path", "polygon", "text"]);
const SVG = "http://www.w3.org/2000/svg", STEP_MS = 300;
let mark = "", asking = false, found = null, parts = [], last = true, only = -1, playing = 0;

/** Ask for what is known of the swarm, where its mark is another one than that which is shown. */
export async function follow(now) {
  byId("peers").hidden = byId("to-peers").hidden = !now;
  if (!now || now === mark || asking) return;
  asking = true;
  try {
    const answer = await fetch("api/peers"), said = await answer.json();
    setText(byId("peers-cut"), answer.ok ? "" : said.said);
    if (answer.ok) { mark = said.mark; found = said; draw(); }
  } catch { /* asked again with the next word from the server */ }
  asking = false;
}

function draw() {
  setText(byId("to-peers"), `${found.n_peers} peer${found.n_peers === 1 ? "" : "s"}`);
  if (!found.map) {
    setText(byId("peers-cut"), "Nothing was told by anybody yet.");
    return;
  }
  map();
  fill(byId("peer-list"), JSON.stringify(found.peers), () => [list()]);
  fill(byId("peer-boards"), JSON.stringify(found.boards), boards);
  fill(byId("peer-findings"), JSON.stringify(found.findings), () => [findings()]);
  fill(byId("peer-carried"), JSON.stringify([found.tiers, found.carried]), carried);
  more();
}

// -- tables ----------------------------------------------------------------------------------------------

const cell = (words, kind = "") => el("td", { class: kind }, words);
const right = (words, kind = "") => cell(String(words), `r ${kind}`);

function table(titles, rows) {
  const heads = titles.map(([name, kind]) => el("th", { class: kind ?? "" }, name));
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}

const idea = (one) => el("td", { class: "free" }, el("span", {}, one.idea), one.known.length ? el("small", { class: "known" }, ` known: ${one.known.join(", ")}`) : null);
const standing = (one) => cell(one.word, one.word === "holds" ? "held" : one.word);
const counts = (one) => [right(one.held, one.held ? "held" : ""), right(one.refuted, one.refuted ? "refuted" : "")];

function list() {
  const rows = found.peers.map((one) => el("tr", {}, cell(one.name), cell(one.tier, "free"), right(one.runs), right(one.claims), right(one.held), right(one.refuted),
    cell(one.caught ? `told two stories at receipt ${one.caught}; nothing counts from there on` : "", "free refuted")));
  return table([["peer"], ["machine"], ["runs", "r"], ["claims", "r"], ["of others, held", "r"], ["refuted", "r"], ["caught"]], rows);
}

function boards() {
  if (!found.boards.length) return [el("p", { class: "quiet" }, "Nobody has kept anything yet.")];
  return found.boards.flatMap((board) => [
    el("h3", {}, `${board.tier}, ${board.budget || "no budget"}`),
    el("p", { class: "quiet" }, `study ${board.study}, ${board.direction}${board.n_rows > board.rows.length ? `, the first ${board.rows.length} of ${board.n_rows}` : ""}`),
    table([["", "r"], ["peer"], ["value", "r"], ["runs", "r"], ["held", "r"], ["refuted", "r"], ["idea"]],
      board.rows.map((one, i) => el("tr", { class: one.refuted > one.held ? "refuted" : "" }, right(i + 1), cell(one.name), right(number(one.value, 5)), right(one.runs), ...counts(one), idea(one)))),
  ]);
}

function findings() {
  const rows = found.findings.map((one) => el("tr", { class: one.word === "refuted" ? "refuted" : "" }, cell(one.finding), cell(one.name), cell(one.tier, "free"), right(signed(one.gain, 3) || "–"),
    standing(one), ...counts(one), idea(one)));
  return table([["finding"], ["peer"], ["machine"], ["gain", "r"], ["it"], ["held", "r"], ["refuted", "r"], ["idea"]], rows);
}

function carried() {
  if (!found.carried.length) return [el("p", { class: "quiet" }, "Nobody has measured another's finding yet.")];
  const titles = [["finding"], ["it"], ["idea"], ...found.tiers.map((tier) => [tier, "r"])];
  const value = (one) => {
    if (!one) return cell("–", "r quiet");
    const [gain, low, high, n] = one, bounds = low == null ? "not known" : `${signed(low, 2)} to ${signed(high, 2)}`;
    return el("td", { class: `r ${low != null && low > 0 ? "held" : high != null && high < 0 ? "refuted" : ""}` }, signed(gain, 3), el("div", { class: "quiet" }, `${bounds}, by ${n}`));
  };
  const rows = found.carried.map((one) => el("tr", { class: one.word === "refuted" ? "refuted" : "" }, cell(one.finding), standing(one), idea(one), ...one.cells.map(value)));
  return [el("p", { class: "quiet" }, "Gain by kind of machine, with a 95 % interval and by how many peers. Each column is a kind of machine of its own."), table(titles, rows)];
}

function more() {
  const left = [["peers", found.n_peers - found.peers.length], ["boards", found.n_boards - found.boards.length], ["findings", found.n_findings - found.findings.length]];
  const words = left.filter(([, n]) => n > 0).map(([name, n]) => `${number(n)} more ${name}`);
  setText(byId("peers-cut"), [`${number(found.runs)} runs in all, counted from receipts ${found.digest}.`, words.length ? `Not shown: ${words.join(", ")}; autoresearch swarm status --json` : ""].join(" "));
}

// -- the map ---------------------------------------------------------------------------------------------

function shape([tag, attributes, text = "", title = "", since = 0]) {
  const made = document.createElementNS(SVG, DRAWN.has(tag) ? tag : "g");
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  if (title) made.prepend(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
  return { made, since, key: attributes.class?.split(" ").find((name) => /^c(\d|-)/.test(name)) };
}

function map() {
  const slider = byId("step"), { across, down, steps } = found.map, n = steps.length;
  fill(byId("map"), JSON.stringify(found.map.shapes), () => {
    parts = found.map.shapes.map(shape);
    byId("map").setAttribute("viewBox", [-across, -down, 2 * across, 2 * down].join(" "));
    return parts.map((part) => part.made);
  });
  fill(byId("colours"), JSON.stringify(found.map.keys), () => {
    only = -1;
    return found.map.keys.map((key, i) => el("li", {}, el("button", { type: "button", "aria-pressed": "false", onclick: () => { only = only === i ? -1 : i; step(); } },
      el("i", { class: key.colour }), el("span"))));
  });
  slider.max = n;
  if (last) slider.value = n;
  step();
}

/** Show the map as it was after so many adoptions. */
function step() {
  const slider = byId("step"), { steps, keys, peers, earlier } = found.map, at = Number(slider.value);
  last = at === steps.length && !playing;
  for (const { made, since, key } of parts) {
    made.classList.toggle("not", only >= 0 && !!key && key !== keys[only].colour);
    if (!since) continue;
    made.style.display = since <= at ? "" : "none";
    made.classList.toggle("now", since === at && (!last || !!playing));
    made.classList.toggle("past", since < at && !last);
  }
  [...byId("colours").children].forEach((item, i) => {
    const button = item.firstChild, key = keys[i], n = steps.slice(0, at).filter((one) => one.key === i).length;
    button.setAttribute("aria-pressed", i === only);
    setText(button.lastChild, [key.finding ? `${key.finding.slice(0, 8)} ${key.idea} · ${key.by}` : key.idea, key.known.length ? `known: ${key.known.join(", ")}` : "", key.word === "refuted" ? "refuted" : "", `${n} ×`].filter(Boolean).join(" · "));
  });
  setText(byId("at-step"), `${at} of ${steps.length}`);
  const left = [peers ? `${peers} peers` : "", earlier ? `${earlier} earlier adoptions` : ""].filter(Boolean).join(" and ");
  setText(byId("what-step"), !steps.length ? "Nobody has taken up another's finding yet." : at ? `${steps[at - 1].words}.${left ? ` Not drawn: ${left}.` : ""}` : "Before anybody took up anything.");
}

function play() {
  const slider = byId("step");
  clearInterval(playing);
  playing = playing ? 0 : setInterval(() => {
    slider.value = Number(slider.value) + 1;
    if (Number(slider.value) >= Number(slider.max)) play();
    else step();
  }, STEP_MS);
  if (playing && slider.value === slider.max) slider.value = 0;
  setText(byId("play"), playing ? "Pause" : "Play");
  step();
}

export function watch() {
  const names = Object.keys(TABS), choose = (name) => {
    for (const one of names) {
      const tab = byId(`tab-${one}`), on = one === name;
      byId(one).hidden = !on;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
    }
  };
  byId("peer-tabs").append(...names.map((name) => el("button", { role: "tab", id: `tab-${name}`, "aria-controls": name, type: "button", onclick: () => choose(name) }, TABS[name])));
  byId("peer-tabs").addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    const next = names[(names.findIndex((name) => event.target.id === `tab-${name}`) + way + names.length) % names.length];
    choose(next);
    byId(`tab-${next}`).focus();
  });
  choose(names[0]);
  byId("step").addEventListener("input", () => { if (found) step(); });
  byId("play").addEventListener("click", () => { if (found?.map) play(); });
}
