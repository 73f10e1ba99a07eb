// What the page knows, how it hears of more, and what it may ask for.
import { byId, say, setText } from "./parts.js";
import * as panels from "./panels.js";
import * as peers from "./peers.js";
import * as staircase from "./staircase.js";
import * as table from "./table.js";
import * as trial from "./trial.js";

const rows = new Map();
let columns = [], head = null, pulse = null, mark = "", source = null, lost = false, due = false, changed = true, token = "", live = null;

// -- hearing ---------------------------------------------------------------------------------------------

function take(list) {
  const numbers = new Set();
  for (const values of list) {
    numbers.add(values[0]);
    changed = true;
    if (values.length === 1) rows.delete(values[0]);
    else rows.set(values[0], Object.fromEntries(columns.map((name, i) => [name, values[i]])));
  }
  return numbers;
}

async function load() {
  try {
    const answer = await fetch("api/study");
    if (!answer.ok) throw new Error((await answer.json()).said);
    const found = await answer.json();
    rows.clear();
    ({ columns, head, pulse, mark } = found);
    take(found.rows);
    lost = false;
    changed = true;
    draw();
    listen();
  } catch (error) {
    lost = true;
    setText(byId("status"), "cannot be read, trying again");
    if (String(error.message)) say(String(error.message));
    setTimeout(load, 2000);
  }
}

function listen() {
  source?.close();
  const mine = (source = new EventSource(`api/events?since=${encodeURIComponent(mark)}`));
  const on = (name, act) => mine.addEventListener(name, (event) => {
    if (mine !== source) return;
    if (event.lastEventId) mark = event.lastEventId;
    lost = false;
    act(JSON.parse(event.data));
    schedule();
  });
  on("rows", (list) => trial.refresh(take(list)));
  on("head", (data) => { head = data; });
  on("pulse", (data) => { pulse = data; trial.refresh(new Set(data.running.filter((one) => one.phase === "run").map((one) => one.id))); });
  on("trouble", (words) => say(words));
  on("reset", () => { mine.close(); load(); });
  mine.onerror = () => {
    if (mine !== source) return;
    lost = true;
    schedule();
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (mine === source) listen(); }, 2000);
  };
}

// -- showing ---------------------------------------------------------------------------------------------

function schedule() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}

function draw() {
  panels.head(head);
  panels.status(pulse, lost);
  panels.machine(pulse, head);
  panels.running(pulse, head.workers ?? 1, trial.open);
  setText(byId("pause"), pulse.paused ? "Resume" : "Pause");
  byId("stop").disabled = !pulse.pid;
  peers.follow(pulse.peers);
  if (pulse.live) (live ??= import("./live.js")).then((its) => its.follow(pulse.live, token, ask));
  if (!head.study) return;
  panels.claim(head.claim);
  panels.proposers(head.proposers);
  panels.notes(head, pulse.dropping, token ? drop : null);
  if (!changed) return;
  changed = false;
  const trials = [...rows.values()].sort((a, b) => a.id - b.id);
  staircase.update(trials, head, trial.open);
  table.update(trials, trial.open);
  if (!byId("tree").hidden) panels.tree(trials, trial.open);
}

function choose(name) {
  for (const one of ["table", "tree"]) {
    const on = one === name, tab = byId(`tab-${one}`);
    byId(one).hidden = !on;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
  }
  changed = true;
  if (head) draw();
}

// -- asking ----------------------------------------------------------------------------------------------

async function ask(wish, data = {}) {
  try {
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    const answer = await fetch(`api/${wish}`, { method: "POST", headers, body: JSON.stringify(data) });
    const found = await answer.json();
    say(found.said);
    if (answer.status === 401) unlock("");
    return answer.ok;
  } catch {
    say("The page does not answer; is it still being served?");
    return false;
  }
}

async function drop(note) {
  if (await ask("drop", { note })) { pulse.dropping = [...pulse.dropping, note]; draw(); }
}

function unlock(secret) {
  token = secret;
  try { secret ? sessionStorage.setItem("token", secret) : sessionStorage.removeItem("token"); } catch { /* kept in memory */ }
  byId("controls").hidden = byId("steer").hidden = !secret;
  byId("locked").hidden = !!secret;
  if (head) schedule();
}

function readHash() {
  const said = new URLSearchParams(location.hash.slice(1));
  if (said.has("token")) {
    unlock(said.get("token"));
    said.delete("token");
    history.replaceState(null, "", location.pathname + (said.size ? `#${said}` : "")); // it must not stay in the address bar
  }
  if (/^\d{1,9}$/.test(said.get("trial") ?? "")) trial.open(Number(said.get("trial")));
}

function controls() {
  byId("pause").addEventListener("click", async () => {
    const wish = pulse.paused ? "resume" : "pause";
    if (await ask(wish)) { pulse.paused = wish === "pause"; draw(); }
  });
  const stop = byId("stop");
  let sure = 0;
  stop.addEventListener("click", () => {
    if (Date.now() < sure) { sure = 0; ask("stop"); }
    else { sure = Date.now() + 4000; say("Press Stop again to end the session when the running trials are done."); }
    stop.classList.toggle("sure", Date.now() < sure);
    setTimeout(() => stop.classList.remove("sure"), 4000);
  });
  byId("steer").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await ask("steer", { text: byId("note").value })) byId("note").value = "";
  });
  for (const name of ["table", "tree"]) {
    byId(`tab-${name}`).addEventListener("click", () => choose(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = name === "table" ? "tree" : "table";
      choose(other);
      byId(`tab-${other}`).focus();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, dialog")) return;
    if (event.key === "/") { choose("table"); byId("search").focus(); event.preventDefault(); }
    if (event.key === "j" || event.key === "k") table.move(event.key === "j" ? 1 : -1);
    if (event.key === "Enter" && event.target === document.body && table.chosen() != null) trial.open(table.chosen());
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("search").value) byId("search").blur();
    if (event.key === "ArrowDown" || event.key === "Enter") { byId("view").focus(); table.move(0); event.preventDefault(); }
  });
}

try { unlock(sessionStorage.getItem("token") ?? ""); } catch { unlock(""); }
byId("all").hidden = location.pathname === "/"; // this study is one of several
controls();
table.watch();
staircase.watch();
peers.watch();
trial.watch(table.neighbour);
window.addEventListener("hashchange", readHash);
readHash();
load();
