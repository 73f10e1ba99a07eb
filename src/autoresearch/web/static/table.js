// The table of trials: only the rows in sight exist, so ten thousand cost as much as twenty.
import { byId, el, gain, number, setText } from "./parts.js";

const COLUMNS = [
  ["id", "trial", "r", (row) => row.id, (row) => String(row.id)],
  ["word", "verdict", "", (row) => row.word, (row) => row.word + (row.flags ? " !" : "")],
  ["value", "value", "r", (row) => row.value, (row) => number(row.value)],
  ["gain", "gain", "r", (row) => row.gain, gain],
  ["cost", "cost", "r", (row) => row.cost, (row) => (row.cost == null ? "" : "×" + row.cost.toFixed(2))],
  ["runs", "runs", "r", (row) => row.runs, (row) => String(row.runs)],
  ["by", "by", "", (row) => row.by, (row) => row.by],
  ["idea", "idea", "", (row) => row.idea, (row) => row.idea],
];

let all = [], view = [], sort = { by: "id", down: true }, words = new Set(), active = null, open = () => {};
const pool = [];
const height = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));

function matches(row, query) {
  if (words.size && !words.has(row.word)) return false;
  if (!query) return true;
  if (query.startsWith("#")) return String(row.id) === query.slice(1);
  return (row.searched ??= `${row.idea} ${row.by} ${row.word} ${row.id}`.toLowerCase()).includes(query);
}

function arrange() {
  const query = byId("search").value.trim().toLowerCase();
  view = all.filter((row) => matches(row, query));
  const of = COLUMNS.find(([name]) => name === sort.by)[3], way = sort.down ? -1 : 1;
  view.sort((a, b) => {
    const x = of(a), y = of(b);
    if (x == null || y == null) return (x == null) - (y == null) || b.id - a.id; // what has no value comes last
    return x < y ? -way : x > y ? way : b.id - a.id;
  });
}

function makeRow() {
  const cells = COLUMNS.map(([name, , side]) => el("span", { class: `c-${name} ${side}`, role: "gridcell" }));
  const row = el("div", { class: "row", role: "row" }, ...cells);
  row.cells = cells;
  row.addEventListener("click", () => { active = row.trial; paint(); open(row.trial); });
  byId("view").append(row);
  return row;
}

function paint() {
  const box = byId("view"), tall = height();
  const first = Math.max(0, Math.floor(box.scrollTop / tall) - 4);
  const last = Math.min(view.length, Math.ceil((box.scrollTop + box.clientHeight) / tall) + 4);
  while (pool.length < last - first) pool.push(makeRow());
  pool.forEach((row, i) => {
    const found = first + i < last ? view[first + i] : null;
    row.hidden = !found;
    if (!found) return;
    row.trial = found.id;
    row.id = `row-${found.id}`;
    row.setAttribute("aria-rowindex", first + i + 1);
    row.style.transform = `translateY(${(first + i) * tall}px)`;
    row.classList.toggle("at", found.id === active);
    COLUMNS.forEach(([name, side, , , shown], at) => {
      setText(row.cells[at], shown(found));
      if (name === "word") row.cells[at].className = `c-word w-${found.word}`;
    });
  });
}

function show() {
  const box = byId("view"), tall = height();
  const top = view[Math.floor(box.scrollTop / tall)], into = box.scrollTop % tall;
  arrange();
  byId("space").style.height = `${view.length * tall}px`;
  box.setAttribute("aria-rowcount", view.length);
  if (box.scrollTop > 0 && top) { // rows above may have come or gone: keep what is read where it is
    const now = view.findIndex((row) => row.id === top.id);
    if (now >= 0) box.scrollTop = now * tall + into;
  }
  setText(byId("shown"), `${view.length} of ${all.length} trials`);
  paint();
}

function chips(counts) {
  const home = byId("words"), key = JSON.stringify([counts, [...words]]);
  if (home.dataset.key === key) return;
  home.dataset.key = key;
  const names = Object.keys(counts).sort((a, b) => counts[b] - counts[a]);
  const known = new Map([...home.children].map((chip) => [chip.dataset.word, chip]));
  for (const name of names) { // kept where they are: a chip must not move from under a finger
    if (!known.has(name)) {
      const chip = el("button", { type: "button", "data-word": name }, "");
      chip.addEventListener("click", () => { words.has(name) ? words.delete(name) : words.add(name); byId("view").scrollTop = 0; show(); chips(counted()); });
      home.append(chip);
      known.set(name, chip);
    }
  }
  for (const [name, chip] of known) {
    setText(chip, `${name} ${counts[name] ?? 0}`);
    chip.setAttribute("aria-pressed", words.has(name));
  }
}

function counted() {
  const counts = {};
  for (const row of all) if (!row.baseline) counts[row.word] = (counts[row.word] ?? 0) + 1;
  return counts;
}

function heads() {
  byId("heads").replaceChildren(...COLUMNS.map(([name, title, side]) => {
    const on = sort.by === name;
    const button = el("button", { type: "button", class: `c-${name} ${side}`, "aria-label": `sort by ${title}` }, title + (on ? (sort.down ? " ↓" : " ↑") : ""));
    button.addEventListener("click", () => {
      sort = { by: name, down: on ? !sort.down : !["idea", "by", "word"].includes(name) };
      byId("view").scrollTop = 0;
      heads();
      show();
      byId("heads").querySelector(`.c-${name}`).focus();
    });
    return button;
  }));
}

/** Move the mark by so many rows, and bring it into sight. */
export function move(by) {
  if (!view.length) return;
  const at = view.findIndex((row) => row.id === active);
  const next = Math.max(0, Math.min(view.length - 1, at < 0 ? 0 : at + by));
  active = view[next].id;
  const box = byId("view"), tall = height(), top = next * tall;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + tall > box.scrollTop + box.clientHeight) box.scrollTop = top + tall - box.clientHeight;
  box.setAttribute("aria-activedescendant", `row-${active}`);
  paint();
}

export const chosen = () => active;
export function neighbour(id, by) {
  const at = view.findIndex((row) => row.id === id);
  const found = at < 0 ? null : view[at + by]?.id ?? null;
  if (found != null) { active = found; paint(); }
  return found;
}

export function update(trials, onOpen) {
  all = trials;
  open = onOpen;
  chips(counted());
  show();
}

export function watch() {
  const box = byId("view");
  let due = false;
  box.addEventListener("scroll", () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; paint(); }); } }, { passive: true });
  new ResizeObserver(() => { if (all.length) show(); }).observe(box);
  byId("search").addEventListener("input", () => { box.scrollTop = 0; show(); });
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -1e9, End: 1e9 };
  box.addEventListener("keydown", (event) => {
    if (event.key in steps) { move(steps[event.key]); event.preventDefault(); }
    else if (event.key === "Enter" && active != null) { open(active); event.preventDefault(); }
  });
  heads();
}
