// The list of studies: how each stands, and the way to its page.
import { byId, el, fill, number, say, setText } from "./parts.js";

const EVERY_MS = 3000;
const KINDS = { running: "runs", broken: "lost", "not running": "held" };

/** The token goes from behind the address into this tab's memory, where the pages of the studies find it. */
function keepToken() {
  const said = new URLSearchParams(location.hash.slice(1));
  if (!said.has("token")) return;
  try { sessionStorage.setItem("token", said.get("token")); } catch { /* then one may only look */ }
  history.replaceState(null, "", location.pathname);
}

const figure = (kind, name, value, beside) => el("div", { class: kind }, el("dt", {}, name), el("dd", {}, el("span", {}, value), el("small", {}, beside)));

function line(one) {
  const unit = one.unit ? ` ${one.unit}` : "";
  const name = el("div", { class: "name" }, el("h2", {}, one.at ? el("a", { href: one.at }, one.folder) : one.folder),
    one.study && one.study !== one.folder ? el("span", { class: "quiet" }, one.study) : null);
  const figures = el("dl", {},
    figure("best", one.metric.slice(0, 40), number(one.best), one.start == null ? "not measured yet" : `start ${number(one.start)}${unit}`),
    one.trials ? figure("kept", "kept", String(one.kept), `of ${one.trials} tried`) : figure("kept", "kept", "–", "none tried"),
    figure(one.claim ? "claim" : "claim none", "claim", one.claim || "–", ""));
  return el("li", { class: "card study" }, name, el("span", { class: `pill ${KINDS[one.state] ?? ""}` }, one.state),
    one.error ? el("p", { class: "error" }, one.error) : figures);
}

function show(found) {
  const running = found.studies.filter((one) => one.state === "running").length;
  const counted = `${found.studies.length} ${found.studies.length === 1 ? "study" : "studies"}, ${running} running`;
  setText(byId("folder"), found.folder || "Studies");
  setText(byId("status"), counted);
  byId("status").className = `pill ${running ? "runs" : ""}`;
  document.title = `${counted} · ${found.folder}`;
  byId("more").hidden = !found.cut;
  fill(byId("studies"), JSON.stringify(found.studies), () => found.studies.map(line));
}

async function load() {
  try {
    const answer = await fetch("api/studies");
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.said);
    show(found);
  } catch (error) {
    setText(byId("status"), "cannot be read, trying again");
    byId("status").className = "pill lost";
    say(String(error.message));
  } finally {
    setTimeout(load, EVERY_MS);
  }
}

keepToken();
load();
