// Everything beside the picture and the table: figures, what runs, the tree, proposers, claim, machine.
import { byId, duration, el, fill, number, setText, signed } from "./parts.js";

const MOST_ROOTS = 200; // trials whose base no trial made
const LEAVES = 60; // trials drawn below one base; the rest are counted

export function head(data) {
  setText(byId("study"), data.study ?? "autoresearch");
  setText(byId("summary"), [data.summary, ...(data.remarks ?? [])].join(" ").replaceAll("`", ""));
  if (!data.study) return;
  document.title = `${number(data.best)} ${data.metric.name} · ${data.study}`;
  const { metric } = data, unit = metric.unit ? ` ${metric.unit}` : "";
  const gained = data.best == null || data.start == null ? null : (metric.direction === "minimize" ? data.start - data.best : data.best - data.start);
  const failed = ["crash", "timeout", "rejected"].reduce((sum, word) => sum + (data.counts[word] ?? 0), 0);
  figures([
    [metric.name.slice(0, 40), number(data.best), `start ${number(data.start)}${unit}`],
    ["gain so far", signed(gained) || "–", data.claim?.now ? `certified ${signed(data.claim.gain)}` : "not certified yet"],
    ["kept", String(data.counts.keep ?? 0), `of ${data.decided} tried, ${failed} failed`],
    ["pace", data.per_hour == null ? "–" : number(data.per_hour, 3), "trials an hour"],
    ["noise", number(data.noise, 2), data.noise == null ? "not known yet" : `one run to the next`],
    ["spent", data.dollars ? `$${data.dollars.toFixed(2)}` : duration(data.spent_s), data.machine_dollars != null && data.tokens ? `$${data.machine_dollars.toFixed(2)} of it the machine` : data.dollars ? `${duration(data.spent_s)} of runs` : `in ${data.runs} runs`],
  ]);
}

function figures(all) {
  const home = byId("figures");
  if (!home.children.length) home.append(...all.map(() => el("div", {}, el("dt"), el("dd", {}, el("span"), el("small")))));
  all.forEach(([name, value, beside], i) => {
    const [dt, dd] = home.children[i].children;
    setText(dt, name);
    setText(dd.firstChild, value);
    setText(dd.lastChild, beside);
  });
}

function spark(points) {
  const known = points.filter((point) => point[1] != null);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 90 30");
  svg.setAttribute("aria-hidden", "true");
  if (known.length < 2) return svg;
  const ys = known.map((point) => point[1]), low = Math.min(...ys), span = Math.max(...ys) - low || 1;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", known.map((p, i) => `${i ? "L" : "M"}${(p[0] * 90).toFixed(1)} ${(28 - ((p[1] - low) / span) * 26).toFixed(1)}`).join(""));
  svg.append(path);
  return svg;
}

function left(one) {
  const point = one.curve.at(-1), gone = Date.now() / 1000 - one.since;
  if (one.phase !== "run") return one.phase;
  if (!point || point[0] < 0.02) return duration(gone);
  return `${duration((gone / point[0]) * (1 - point[0]))} left`;
}

export function running(pulse, workers, open) {
  const home = byId("running");
  home.style.height = `${56 * Math.min(8, Math.max(1, workers))}px`; // as many as there can be: nothing below moves
  const key = JSON.stringify([pulse.running, pulse.pid, pulse.paused]);
  if (!pulse.running.length) {
    const words = !pulse.pid ? "Nothing: the study does not run now." : pulse.paused ? "Paused: no new trial is started." : "Between trials.";
    fill(home, key, () => [el("li", { class: "none quiet" }, words)]);
    return;
  }
  fill(home, key, () => pulse.running.map((one) => {
    const point = one.curve.at(-1);
    const bar = one.phase === "run" ? el("progress", { max: 1, value: point ? point[0] : null, "aria-label": `trial ${one.id}` }) : null;
    const loss = point?.[1] != null ? `loss ${number(point[1], 4)}` : "";
    const item = el("li", {},
      el("b", {}, String(one.id)), el("div", { class: "idea" }, one.idea || "(thinking)", el("div", {}, el("small", {}, [one.by, one.phase === "run" ? `run ${one.run}` : "", loss].filter(Boolean).join(" · "))), bar),
      spark(one.curve), el("span", { class: "when" }, left(one)));
    item.addEventListener("click", () => open(one.id));
    return item;
  }));
}

export function status(pulse, lost) {
  const pill = byId("status");
  const [words, kind] = lost ? ["connection lost, trying again", "lost"] : pulse.paused ? [pulse.pid ? "paused" : "paused, not running", "held"] : pulse.pid ? ["running", "runs"] : ["not running", ""];
  setText(pill, words);
  pill.className = `pill ${kind}`;
}

export function machine(pulse, data) {
  const { load, cores, memory_used_mb: used, memory_mb: total } = pulse.machine, home = byId("machine");
  if (!home.children.length) {
    const meter = (name) => el("div", { class: "meter" }, el("span", {}, name), el("progress", { max: 1, value: 0, "aria-label": name }), el("span", { class: "when" }));
    home.append(meter("load"), meter("memory"), el("p", { class: "quiet" }));
  }
  const [first, second] = home.children, words = home.lastChild;
  first.children[1].value = Math.min(1, (load ?? 0) / (cores || 1));
  setText(first.children[2], load == null ? "not known" : `${load.toFixed(2)} on ${cores} cores`);
  second.children[1].value = total ? used / total : 0;
  setText(second.children[2], total ? `${(used / 1024).toFixed(1)} of ${(total / 1024).toFixed(0)} GiB` : "not known");
  setText(words, data.tier ?? "");
  gpus(pulse.machine.gpus, home);
}

/** A line for each GPU: two bars, how busy it is and how full its memory; nothing where none can be read. */
function gpus(all, home) {
  const bar = (name) => el("progress", { max: 1, value: 0, "aria-label": name });
  const lines = [...home.querySelectorAll(".gpu")];
  while (lines.length > all.length) lines.pop().remove();
  while (lines.length < all.length) {
    const i = lines.length;
    const made = el("div", { class: "meter gpu" }, el("span", {}, all.length > 1 ? `GPU ${i}` : "GPU"), el("div", {}, bar(`GPU ${i} load`), bar(`GPU ${i} memory`)), el("span", { class: "when" }));
    home.lastChild.before(made);
    lines.push(made);
  }
  all.forEach(({ name, busy, memory_used_mb: used, memory_mb: total }, i) => {
    const [, bars, words] = lines[i].children, known = total && used != null;
    lines[i].title = name;
    bars.firstChild.value = busy ?? 0;
    bars.lastChild.value = known ? used / total : 0;
    setText(words, [busy == null ? "" : `${Math.round(busy * 100)} %`, known ? `${(used / 1024).toFixed(1)} of ${(total / 1024).toFixed(0)} GiB` : ""].filter(Boolean).join(" · "));
  });
}

export function claim(found) {
  fill(byId("claim"), JSON.stringify(found ?? null), () => {
    if (!found) return [el("p", { class: "quiet" }, "Nothing is certified yet. When the night is over: autoresearch certify")];
    const shares = found.shares.map((share) => el("li", {},
      el("b", {}, share.gain == null ? "–" : signed(share.gain)), ` ${share.word}, trial ${share.trials.join(" + ")}`, el("div", { class: "quiet" }, share.idea)));
    return [
      found.now ? null : el("p", { class: "flag" }, "Of an earlier best: the study has gone on since."),
      found.proof ? null : el("p", { class: "flag" }, "The interval holds 0: this is no proof of a gain."),
      el("p", {}, found.sentence),
      shares.length ? el("p", { class: "quiet" }, "What the best loses without each kept change:") : null,
      shares.length ? el("ul", {}, ...shares) : null,
    ].filter(Boolean);
  });
}

export function proposers(all) {
  fill(byId("proposers"), JSON.stringify(all), () => {
    const paid = all.some((one) => one.calls);
    const titles = ["", "tried", "kept", "failed", "gain", ...(paid ? ["tokens", "cost"] : [])].map((name, i) => el("th", { class: i ? "r" : "" }, name));
    const rows = all.map((one) => el("tr", {}, el("td", {}, one.name), ...[String(one.tried), String(one.kept), String(one.failed), signed(one.gain) || "–",
      ...(paid ? [number(one.tokens), `$${one.dollars.toFixed(2)}`] : [])].map((words) => el("td", { class: "r" }, words))));
    return [el("table", {}, el("thead", {}, el("tr", {}, ...titles)), el("tbody", {}, ...rows))];
  });
}

/** `drop(number)` is what a note's button does; null where there is no token, so no button. */
export function notes(data, dropping, drop) {
  fill(byId("notes"), JSON.stringify([data.notes, data.waiting, dropping, !drop]), () => [
    ...data.waiting.map((idea) => el("li", {}, el("b", {}, "waits to be tried: "), idea)),
    ...data.notes.map((note) => {
      const going = dropping.includes(note.number);
      const button = drop && !going ? el("button", { type: "button", class: "drop", "aria-label": `Drop note ${note.number}`, onclick: () => drop(note.number) }, "Drop") : null;
      return el("li", {}, button, el("b", {}, `note ${note.number}, ${note.by}: `), note.text, going ? el("span", { class: "quiet" }, " (dropped before the next trial)") : null);
    }),
  ]);
}

/** Base to trial: what was kept is a trunk, and each of it carries what was tried on it. */
export function tree(trials, open) {
  const home = byId("tree"), below = new Map(), known = new Set(trials.map((row) => row.id));
  const roots = [];
  for (const row of trials) {
    if (row.parent == null || !known.has(row.parent)) { roots.push(row); continue; }
    if (!below.has(row.parent)) below.set(row.parent, []);
    below.get(row.parent).push(row);
  }
  const go = (row, element) => { element.addEventListener("click", () => open(row.id)); return element; };
  const at = home.scrollTop;
  const list = el("ol"), waiting = roots.slice(-MOST_ROOTS).map((row) => [row, list, 0]);
  while (waiting.length) { // not by recursion: a chain of kept trials may be long
    const [row, into, depth] = waiting.shift();
    const children = below.get(row.id) ?? [], trunk = children.filter((one) => one.word === "keep" || below.has(one.id)), leaves = children.filter((one) => !trunk.includes(one));
    const gained = row.baseline || row.gain == null ? "" : `  ${signed(row.gain)}`;
    const node = el("li", {}, el("div", { class: "node" }, go(row, el("button", { type: "button" }, el("b", { class: `w-${row.word}` }, `${row.id} `), row.baseline ? "the code as it stood" : row.idea, gained)),
      el("div", { class: "leaves" }, ...leaves.slice(-LEAVES).map((leaf) => go(leaf, el("button", { type: "button", class: `leaf l-${leaf.word}`, title: `${leaf.id} ${leaf.word}: ${leaf.idea}`, "aria-label": `trial ${leaf.id}, ${leaf.word}` }, String(leaf.id)))),
        leaves.length > LEAVES ? el("span", { class: "quiet" }, `and ${leaves.length - LEAVES} before them`) : null)));
    into.append(node);
    if (trunk.length === 1) waiting.push([trunk[0], into, depth]); // a chain goes on below, not ever further to the right
    else if (trunk.length) {
      const inner = depth < 12 ? el("ol") : into;
      if (inner !== into) node.append(inner);
      waiting.push(...trunk.map((one) => [one, inner, depth + 1]));
    }
  }
  home.replaceChildren(list);
  home.scrollTop = at;
}
