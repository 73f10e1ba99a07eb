// What waits for a person's word: each level with its words, what it would stand in for, how it would look, and two buttons.
// Every word here may be a model's: it goes in as text. How it would look is a frame without scripts and without an origin.
import { byId, el, fill, setText } from "./parts.js";

const items = new Map(); // trial -> what is on the page, kept while it waits: a reason that is being written stays
let mark = "", asking = false, token = "", ask = null;

/** `put(section)` lays the section onto the page; `wish` sends what a person asked for. */
export async function follow(now, secret, wish, put) {
  ask = wish;
  if (secret !== token) { token = secret; mark = ""; }
  if (!byId("queue")) put(section());
  byId("queue").hidden = !token;
  if (!token) { clear(); return; }
  if (now === mark || asking) return;
  asking = true;
  try {
    const answer = await fetch("api/queue", { headers: { authorization: `Bearer ${token}` } }), found = await answer.json();
    if (token !== secret) return;
    if (answer.ok) { mark = now; draw(found); }
    else if (answer.status === 401) byId("queue").hidden = true;
    else { setText(byId("queue-said"), found.said); mark = now; }
  } catch { /* asked again with the next word from the server */ } finally { asking = false; }
}

function section() {
  return el("section", { class: "card live", id: "queue", "aria-labelledby": "h-queue" },
    el("h2", { id: "h-queue", tabindex: "-1" }, "Waits for your word"), el("p", { id: "queue-said", class: "quiet" }), el("ol", { id: "waiting" }));
}

function clear() {
  items.clear();
  byId("waiting").replaceChildren();
  mark = "";
}

function draw(found) {
  setText(byId("h-queue"), found.n ? `Waits for your word: ${found.n}` : "Waits for your word");
  const words = [found.n ? "Nobody is shown any of these before you approve it." : "Nothing waits. What is new is listed here before anybody is shown it."];
  if (found.n > found.rows.length) words.push(`The first ${found.rows.length} are listed.`);
  const told = [found.approved ? `${found.approved} approved` : "", found.refused ? `${found.refused} refused` : ""].filter(Boolean).join(", ");
  if (told) words.push(`${told}: taken up as soon as the study runs.`);
  setText(byId("queue-said"), words.join(" "));
  const list = byId("waiting"), numbers = new Set(found.rows.map((row) => row.trial));
  for (const [number, item] of items) if (!numbers.has(number)) { leave(item); items.delete(number); }
  for (const row of found.rows) {
    if (!items.has(row.trial)) items.set(row.trial, made(row));
    const { node, terms } = items.get(row.trial);
    fill(terms, JSON.stringify([row.beside, row.breaks, row.claims, found.rules]), () => described(row, found.rules)); // the default may have moved
    if (node.parentNode !== list) list.append(node);
  }
}

/** Off the page; whoever was at it by keyboard is at the next one's words then, and not at a button. */
function leave({ node }) {
  const next = node.nextElementSibling ?? node.previousElementSibling, held = node.contains(document.activeElement);
  node.remove();
  if (held) (next?.querySelector(".said") ?? byId("h-queue")).focus();
}

function described(row, ruled) {
  const rules = row.breaks.length ? row.breaks.map((one) => el("div", { class: "breaks" }, one))
    : [el("span", { class: "fine" }, ruled ? "Nothing against it." : "There are none: no brand.toml."), row.claims.length ? ` It rests on your claim ${row.claims.map((one) => `“${one}”`).join(", ")}.` : null];
  const terms = [["instead of", [row.beside || "(nothing)"]], ["it is", [row.about]], ["from", [row.by]], ["idea", [row.idea === `${row.variable}: ${row.text}` ? "" : row.idea]], ["brand rules", rules]];
  return terms.filter(([, words]) => words[0]).flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, ...words)]);
}

function made(row) {
  const name = `${row.variable}: ${row.text}`, terms = el("dl");
  const said = el("p", { class: "said", tabindex: "-1" }, row.text || "(nothing)");
  const node = el("li", { "data-trial": row.trial });
  const yes = el("button", { type: "button", class: "yes", "aria-label": `Approve ${name}` }, "Approve");
  const no = el("button", { type: "button", class: "no", "aria-label": `Refuse ${name}`, "aria-expanded": "false" }, "Refuse…");
  const acts = el("div", { class: "acts" }, yes, no);
  const why = el("textarea", { id: `why-${row.trial}`, rows: "2", maxlength: "500" });
  const back = el("button", { type: "button" }, "Back");
  const form = el("form", { class: "why", hidden: true }, el("label", { for: why.id }, "Why not? Whoever has the next idea is told. It may stay empty."), why,
    el("div", { class: "acts" }, el("button", { type: "submit", class: "no" }, "Refuse"), back));
  const turn = (open) => { form.hidden = !open; acts.hidden = open; no.setAttribute("aria-expanded", open); (open ? why : no).focus(); };
  const send = async (wish, data) => {
    for (const button of node.querySelectorAll("button")) button.disabled = true;
    const done = await ask(wish, data);
    for (const button of node.querySelectorAll("button")) button.disabled = false;
    if (!done || items.get(row.trial)?.node !== node) return;
    node.querySelector(".said").focus();
    leave({ node });
    items.delete(row.trial);
    mark = ""; // the count and the rest come with the next word from the server
  };
  yes.addEventListener("click", () => send("approve", { trial: row.trial }));
  no.addEventListener("click", () => turn(true));
  back.addEventListener("click", () => turn(false));
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") turn(false); });
  form.addEventListener("submit", (event) => { event.preventDefault(); send("refuse", { trial: row.trial, why: why.value }); });
  const of = el("p", { class: "of" }, `${row.variable} `, el("span", {}, `· ${row.level}, trial ${row.trial}`));
  node.append(el("div", {}, of, said, terms, acts, form), look(row, node));
  return { node, terms };
}

function look(row, node) {
  const size = el("button", { type: "button", class: "size", "aria-expanded": "false" }, "Larger", el("span", { class: "unseen" }, ` look of ${row.variable}, ${row.level}`));
  size.addEventListener("click", () => {
    const large = node.classList.toggle("large");
    size.setAttribute("aria-expanded", large);
    size.firstChild.data = large ? "Smaller" : "Larger";
  });
  const title = `How it would look: ${row.variable}, ${row.level}`;
  const pane = row.look ? el("div", { class: "pane" }, el("iframe", { src: row.look, sandbox: "", loading: "lazy", referrerpolicy: "no-referrer", title }))
    : el("pre", { class: "log", tabindex: "0", "aria-label": title }, row.seen || "(cannot be made)");
  return el("div", { class: "look" }, el("p", { class: "quiet" }, "How it would look", size), pane);
}
