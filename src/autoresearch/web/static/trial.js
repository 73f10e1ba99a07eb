// One trial in full, in a panel over the page. All it shows came from runs and models: it goes in as text.
import { byId, color, duration, el, number, say } from "./parts.js";

let shown = null, asked = 0, curve = null, neighbour = () => null;

const KEYWORDS = /^(?:and|as|assert|async|await|break|case|class|const|continue|def|del|do|elif|else|except|export|false|False|finally|fn|for|from|function|global|if|impl|import|in|is|lambda|let|match|mut|new|None|nonlocal|not|null|or|pass|pub|raise|return|self|static|struct|switch|this|throw|true|True|try|type|use|var|void|while|with|yield)$/;
const TOKENS = /(#.*$|\/\/.*$)|("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`[^`]*`?)|(\b\d[\w.]*\b)|([A-Za-z_]\w*)/g;
const LONGEST = 400; // characters of a line that are coloured

function code(line) {
  const parts = [];
  let from = 0;
  if (line.length <= LONGEST) {
    for (const match of line.matchAll(TOKENS)) {
      const kind = match[1] ? "com" : match[2] ? "str" : match[3] ? "num" : KEYWORDS.test(match[4]) ? "key" : null;
      if (!kind) continue;
      parts.push(line.slice(from, match.index), el("span", { class: `t-${kind}` }, match[0]));
      from = match.index + match[0].length;
    }
  }
  return [...parts, line.slice(from)];
}

/** A patch in colours, line by line. */
export function diff(patch) {
  const lines = patch.replace(/\n$/, "").split("\n").filter((line) => !/^index [0-9a-f]+\.\./.test(line));
  let head = true;
  return el("pre", { id: "diff", tabindex: "0", "aria-label": "diff" }, ...lines.map((line) => {
    if (line.startsWith("diff --git")) head = true;
    if (line.startsWith("@@")) head = false;
    const kind = head ? "file" : line.startsWith("@@") ? "at" : { "+": "add", "-": "cut" }[line[0]] ?? "";
    const body = head || kind === "at" ? [line || " "] : [line[0] ?? " ", ...code(line.slice(1))];
    return el("span", { class: `d ${kind}` }, ...body);
  }));
}

function part(title, ...children) {
  return el("section", {}, title ? el("h3", {}, title) : null, ...children);
}

function runs(found) {
  if (!found.runs.length) return null;
  const extras = [...new Set(found.runs.flatMap((run) => Object.keys(run.extras)))].slice(0, 8);
  const head = ["run", "seed", "for", "status", "value", "wall", "processor", "memory", ...extras];
  const body = found.runs.map((run) => el("tr", {},
    el("td", {}, String(run.id)), el("td", {}, String(run.seed)), el("td", {}, run.purpose + (run.base ? " (base)" : "")),
    el("td", { class: run.why ? "free" : "" }, run.status + (run.why ? `: ${run.why}` : "")), el("td", { class: "r" }, number(run.value)),
    el("td", { class: "r" }, duration(run.wall_s)), el("td", { class: "r" }, duration(run.processor_s)),
    el("td", { class: "r" }, run.memory_mb == null ? "" : `${Math.round(run.memory_mb)} MB`),
    ...extras.map((name) => el("td", { class: "r" }, number(run.extras[name], 5)))));
  const sides = new Set(["value", "wall", "processor", "memory", ...extras]);
  const titles = head.map((name) => el("th", { class: sides.has(name) ? "r" : "" }, name.slice(0, 40)));
  return part("Runs", el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...titles)), el("tbody", {}, ...body))));
}

function curves(found) {
  if (!found.curves.length || found.curves[0].points.filter((p) => p[1] != null).length < 2) return null;
  const names = found.curves.map((one, i) => el("span", {}, el("i", { class: i ? "dot" : "dot kept" }), ` ${one.name}  `));
  return part("Training curve", el("p", { class: "quiet" }, ...names), el("div", { id: "curves" }));
}

function drawCurves(found) {
  curve?.destroy();
  curve = null;
  const home = byId("curves");
  if (!home) return;
  const xs = [...new Set(found.curves.flatMap((one) => one.points.map((p) => p[0])))].sort((a, b) => a - b);
  const columns = found.curves.map((one) => { const known = new Map(one.points); return xs.map((x) => known.get(x) ?? undefined); });
  const grid = { stroke: color("--rule"), width: 1 }, axis = { stroke: color("--quiet"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
  const colors = [color("--kept"), color("--tried")];
  curve = new uPlot({
    width: home.clientWidth, height: home.clientHeight, legend: { show: false }, cursor: { show: false },
    scales: { x: { time: false, range: [0, 1] } },
    axes: [{ ...axis, values: (u, all) => all.map((v) => `${Math.round(v * 100)} %`), size: 32 }, { ...axis, size: 64, values: (u, all) => all.map((v) => number(v, 4)) }],
    series: [{}, ...columns.map((_, i) => ({ stroke: colors[i], width: 2, spanGaps: true, points: { show: false } }))],
  }, [xs, ...columns], home);
}

function body(found) {
  const by = `by ${found.by || "–"}${found.carries.length ? `, carrying on trial ${found.carries.join(", ")}` : ""}`;
  const where = `base ${found.base}${found.commit ? `, commit ${found.commit}` : ""}${found.kept_as ? `, kept as ${found.kept_as}` : ""}`;
  return [
    part(null, el("p", { class: "idea" }, found.idea || "(no idea yet)"), el("p", { class: "quiet" }, `${by}; ${where}`)),
    part("Verdict", el("p", {}, el("b", { class: `w-${found.word}` }, found.word), found.why ? `: ${found.why}` : ""),
      found.numbers ? el("p", {}, found.numbers) : null, ...found.flags.map((flag) => el("p", { class: "flag" }, `! ${flag}`))),
    found.diff ? part("Diff", diff(found.diff)) : null,
    curves(found),
    runs(found),
    ...found.logs.map((log) => part(`End of ${log.name}`, el("pre", { class: "log", tabindex: "0" }, log.text))),
  ].filter(Boolean);
}

function top(number_) {
  const go = (by, words, key) => {
    const button = el("button", { type: "button", "aria-label": words, title: `${words} (${key})` }, by < 0 ? "↑" : "↓");
    button.addEventListener("click", () => step(by));
    return button;
  };
  const close = el("button", { type: "button", id: "close" }, "Close");
  close.addEventListener("click", () => byId("trial").close());
  return el("div", { class: "top" }, el("h2", { id: "trial-title" }, `Trial ${number_}`), go(-1, "Trial above", "k"), go(1, "Trial below", "j"), close);
}

function step(by) {
  const next = neighbour(shown, by);
  if (next != null) open(next);
}

/** Show a trial; again for the one that is shown, to bring it up to date. */
export async function open(wanted) {
  const panel = byId("trial"), mine = ++asked, fresh = shown !== wanted || !panel.open;
  shown = wanted;
  if (fresh) panel.replaceChildren(top(wanted), part(null, "loading…"));
  if (!panel.open) panel.showModal();
  history.replaceState(null, "", `#trial=${wanted}`);
  try {
    const answer = await fetch(`api/trial/${wanted}`);
    const found = await answer.json();
    if (mine !== asked || !panel.open) return;
    if (!answer.ok) throw new Error(found.said);
    const at = panel.scrollTop, focused = document.activeElement?.id;
    panel.replaceChildren(top(wanted), ...body(found));
    drawCurves(found);
    panel.scrollTop = fresh ? 0 : at;
    if (focused && focused !== "trial") byId(focused)?.focus({ preventScroll: true });
  } catch (error) {
    if (mine === asked) say(String(error.message || error));
  }
}

/** What has changed; the panel follows where it shows one of these. */
export function refresh(numbers) {
  if (shown != null && byId("trial").open && numbers.has(shown)) open(shown);
}

export function watch(neighbourOf) {
  neighbour = neighbourOf;
  const panel = byId("trial");
  panel.addEventListener("close", () => { shown = null; curve?.destroy(); curve = null; history.replaceState(null, "", location.pathname); });
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("keydown", (event) => {
    if (event.target.closest("pre, input, textarea")) return;
    const by = { j: 1, k: -1 }[event.key];
    if (by) { step(by); event.preventDefault(); event.stopPropagation(); }
  });
}
