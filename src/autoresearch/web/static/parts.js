// What the other modules share: elements made of text alone, and numbers as people write them.

export const byId = (id) => document.getElementById(id);

/** An element. Its children are elements or text; text never becomes markup. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function number(value, digits = 6) {
  if (value == null) return "–";
  if (Number.isInteger(value) && Math.abs(value) >= 1e4) return value.toLocaleString("en");
  const short = Number(value.toPrecision(digits));
  return (Math.abs(short) >= 1e-4 || short === 0 ? String(short) : short.toExponential()).replace("-", "−");
}

export const signed = (value, digits = 4) => (value == null ? "" : (value > 0 ? "+" : "") + number(value, digits));

export function gain(row) {
  return row.gain == null ? "" : signed(row.gain, 3) + (row.error ? " ±" + number(row.error, 2) : "");
}

export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s >= 600 && s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Put the children in place of those that are there, but leave them alone where nothing has changed. */
export function fill(parent, key, make) {
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...make());
}

export function setText(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let hiding = 0;
export function say(words) {
  const said = byId("said");
  said.textContent = words;
  said.classList.add("on");
  clearTimeout(hiding);
  hiding = setTimeout(() => said.classList.remove("on"), 5000);
}
