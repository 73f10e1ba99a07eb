// The picture in the well-known look: every trial a dot, kept ones labelled, the best so far as a staircase.
import { byId, color, el, gain, number } from "./parts.js";

const LABEL = 44, REACH = 22; // characters of a label; pixels around a dot in which a pointer means it
const TILT = -28 * Math.PI / 180;

let plot = null, points = [], drawn = null, open = () => {};

/** What to draw: the trials in order with their place, the steps of the best, and the part of the scale to show. */
export function layout(trials, head) {
  const found = [];
  let place = 0;
  for (const row of trials) {
    if (row.word === "running") continue;
    place += row.baseline ? 0 : 1;
    if (row.value != null) found.push({ row, x: place, y: row.value, kept: row.word === "keep" });
  }
  const steps = found.filter((point) => point.kept);
  const worse = head.metric.direction === "minimize" ? 1 : -1;
  let low = 0, high = 1;
  if (steps.length) {
    let min = Infinity, max = -Infinity;
    for (const step of steps) { min = Math.min(min, step.y); max = Math.max(max, step.y); }
    const start = steps[0].y, best = steps[steps.length - 1].y;
    const span = max - min || 4 * (head.noise || 0) || Math.abs(start) * 0.1 || 1;
    [low, high] = [best - worse * 0.12 * span, start + worse * 0.35 * span].sort((a, b) => a - b);
    if (min < low || max > high) [low, high] = [Math.min(low, min), Math.max(high, max)];
  } else if (found.length) {
    low = Math.min(...found.map((p) => p.y)); high = Math.max(...found.map((p) => p.y));
    if (low === high) { low -= 1; high += 1; }
  }
  return { found, steps, worse, low, high, last: Math.max(place, 1) };
}

function columns(shown) {
  const xs = [], tried = [], kept = [], best = [], far = [];
  let now = null;
  for (const point of shown.found) {
    const outside = point.y < shown.low || point.y > shown.high;
    if (point.kept) now = point.y;
    xs.push(point.x);
    kept.push(point.kept ? point.y : null);
    tried.push(point.kept || outside ? null : point.y);
    far.push(outside && !point.kept ? (shown.worse > 0 ? shown.high : shown.low) : null);
    best.push(now);
    point.shownY = outside && !point.kept ? far[far.length - 1] : point.y;
  }
  if (xs.length && xs[xs.length - 1] < shown.last) {
    xs.push(shown.last); kept.push(null); tried.push(null); far.push(null); best.push(now);
  }
  return [xs, best, tried, far, kept];
}

function under(u) { // the band goes below everything
  const { head } = drawn, start = drawn.steps[0];
  if (!head.noise || !start) return;
  const top = u.valToPos(start.y + head.noise, "y", true), end = u.valToPos(start.y - head.noise, "y", true);
  u.ctx.fillStyle = color("--band");
  u.ctx.fillRect(u.bbox.left, Math.min(top, end), u.bbox.width, Math.max(2, Math.abs(end - top)));
}

function over(u) {
  const { ctx } = u, scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top - 40 * scale, u.bbox.width + 30 * scale, u.bbox.height + 40 * scale);
  ctx.clip();
  certified(u, scale);
  ctx.font = `${(u.width < 500 ? 10 : 11) * scale}px system-ui, sans-serif`;
  ctx.fillStyle = color("--kept-ink");
  const taken = [], flat = [];
  const narrow = u.width < 500, { steps } = drawn;
  const size = (step, i) => (i === 0 || i === steps.length - 1 ? Infinity : Math.abs(steps[i - 1].y - step.y));
  const ranked = steps.map((step, i) => [step, size(step, i)]).sort((a, b) => b[1] - a[1]); // the largest steps get the room
  for (const [step] of ranked) {
    if (taken.length + flat.length >= (narrow ? 8 : 18)) break;
    if (step.x < u.scales.x.min || step.x > u.scales.x.max) continue;
    const x = u.valToPos(step.x, "x", true), y = u.valToPos(step.y, "y", true);
    const most = Math.min(LABEL, u.width < 500 ? 22 : LABEL);
    const idea = step.row.baseline ? "start" : step.row.idea.split(": ")[0];
    let words = idea.length > most ? idea.slice(0, most - 1) + "…" : idea, length = ctx.measureText(words).width;
    const above = (y - 14 * scale) / Math.sin(-TILT); // as long as it may be without leaving at the top
    if (length > above) { words = words.slice(0, Math.max(0, Math.floor(words.length * above / length) - 2)) + "…"; length = above; }
    const noRoom = x + length * 0.88 > u.bbox.left + u.bbox.width + 20 * scale;
    if (noRoom && flat.some((other) => Math.abs(other - y) < 14 * scale)) continue;
    if (noRoom) flat.push(y);
    const across = x * Math.sin(-TILT) + y * Math.cos(TILT), along = x * Math.cos(TILT) - y * Math.sin(-TILT);
    const gap = 15 * scale;
    if (!noRoom && taken.some((t) => Math.abs(t.across - across) < gap && along < t.along + t.length && t.along < along + length)) continue;
    if (!noRoom) taken.push({ across, along, length });
    ctx.save();
    ctx.translate(x + 6 * scale, y - 6 * scale);
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    if (noRoom) { ctx.textAlign = "right"; ctx.translate(-15 * scale, 21 * scale); } // on the empty side of the steps
    else ctx.rotate(TILT);
    ctx.fillText(words, 0, 0);
    ctx.restore();
  }
  ctx.restore();
}

function certified(u, scale) {
  const { head, found, worse } = drawn, { ctx } = u, claim = head.claim;
  if (!claim) return;
  const at = found.find((point) => point.row.id === claim.trial);
  if (!at) return;
  const x = u.valToPos(at.x, "x", true), y = u.valToPos(claim.after, "y", true), size = 6 * scale;
  const ends = [claim.before - worse * claim.low, claim.before - worse * claim.high].map((v) => u.valToPos(v, "y", true));
  ctx.strokeStyle = ctx.fillStyle = color("--claim");
  ctx.lineWidth = 2 * scale;
  ctx.beginPath();
  ctx.moveTo(x, ends[0]); ctx.lineTo(x, ends[1]);
  for (const end of ends) { ctx.moveTo(x - size, end); ctx.lineTo(x + size, end); }
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x, y - size); ctx.lineTo(x + size, y); ctx.lineTo(x, y + size); ctx.lineTo(x - size, y);
  ctx.fill();
}

function options(width, height, head) {
  const ink = color("--quiet"), grid = { stroke: color("--rule"), width: 1 };
  const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
  const dots = (name, size, fill, edge) => ({ label: name, stroke: fill, paths: () => null, points: { show: true, size, fill, stroke: edge || fill, width: edge ? 1 : 0 } });
  const many = drawn.found.length > 1500;
  return {
    width, height, pxAlign: false, legend: { show: false }, padding: [26, 18, 0, 0],
    cursor: { drag: { x: true, y: false }, points: { show: false }, y: false, x: false },
    scales: { x: { time: false, range: (u, min, max) => (min === max ? [0, 1] : [min, max]) }, y: { range: () => [drawn.low, drawn.high] } },
    axes: [
      { ...axis, label: "trial", labelFont: axis.font, labelSize: 20, size: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
      { ...axis, size: (u, values) => 18 + 7.2 * Math.max(4, ...(values || []).map((v) => v.length)), label: `${head.metric.name.slice(0, 60)} (${head.metric.direction === "minimize" ? "lower" : "higher"} is better)`, labelFont: axis.font, labelSize: 20, values: (u, all) => all.map((v) => number(v, 5)) },
    ],
    series: [
      {},
      { label: "best so far", stroke: color("--kept"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      dots("tried", many ? 4 : 6, color("--tried")),
      dots("far worse", 5, color("--far")),
      dots("kept", 9, color("--kept"), color("--card")),
    ],
    hooks: { drawClear: [under], draw: [over] },
  };
}

function nearest(event) {
  if (!plot) return null;
  const box = plot.over.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = REACH * REACH;
  const { min, max } = plot.scales.x, wide = box.width / (max - min || 1), tall = box.height / (drawn.high - drawn.low || 1);
  for (const point of points) {
    const dx = (point.x - min) * wide - x;
    if (dx > REACH || dx < -REACH) continue;
    const dy = (drawn.high - point.shownY) * tall - y, apart = dx * dx + dy * dy - (point.kept ? 30 : 0);
    if (apart < least) { least = apart; best = point; }
  }
  return best;
}

function hover(event) {
  const tip = byId("tip"), point = nearest(event);
  tip.hidden = !point;
  plot.over.style.cursor = point ? "pointer" : "";
  if (!point) return;
  const { row } = point;
  tip.replaceChildren(
    el("b", {}, `${row.id} `), el("span", { class: `w-${row.word}` }, row.word),
    el("div", {}, row.idea), el("div", { class: "quiet" }, `${number(row.value)}  ${gain(row)}`),
  );
  const card = byId("plot").parentElement.getBoundingClientRect();
  const x = event.clientX - card.left, y = event.clientY - card.top, left = x > card.width / 2;
  tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px) translate(${left ? "calc(-100% - 14px)" : "14px"}, -50%)`;
}

function build() {
  const home = byId("plot");
  plot?.destroy();
  plot = new uPlot(options(home.clientWidth, home.clientHeight, drawn.head), columns(drawn), home);
  plot.over.addEventListener("mousemove", hover);
  plot.over.addEventListener("mouseleave", () => { byId("tip").hidden = true; });
  let from = 0;
  plot.over.addEventListener("mousedown", (event) => { from = event.clientX; });
  plot.over.addEventListener("click", (event) => {
    const point = Math.abs(event.clientX - from) < 5 && nearest(event);
    if (point) { byId("tip").hidden = true; open(point.row.id); }
  });
}

/** Draw what is known now. `onOpen(number)` is called where a dot is chosen. */
export function update(trials, head, onOpen) {
  open = onOpen;
  if (!head.study) return;
  const was = drawn?.last;
  drawn = { ...layout(trials, head), head };
  points = drawn.found;
  const home = byId("plot");
  home.setAttribute("aria-label", head.summary);
  if (!plot || (was <= 1500) !== (drawn.last <= 1500)) { build(); return; }
  const { min, max } = plot.scales.x, zoomed = min > plot.data[0][0] || max < plot.data[0].at(-1);
  plot.setData(columns(drawn), !zoomed);
  if (zoomed) plot.redraw();
}

export function watch() {
  const again = () => { if (drawn) build(); };
  new ResizeObserver(() => { if (plot) plot.setSize({ width: byId("plot").clientWidth, height: byId("plot").clientHeight }); }).observe(byId("plot"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}
