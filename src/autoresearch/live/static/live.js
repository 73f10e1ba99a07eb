// Shows a visitor what the study decides, and reports that it was seen and what came of it; docs/live-serving.md.
(() => {
  const me = document.currentScript, base = new URL(".", me.src), nav = navigator, own = "proof" in me.dataset;
  if (nav.doNotTrack === "1" || nav.globalPrivacyControl) return;
  const sent = new Set(), early = [];
  let id, counted, begun;

  const post = (path, body) => fetch(new URL(path, base), {
    method: "POST", body: JSON.stringify(body), keepalive: true, credentials: own ? "same-origin" : "omit",
    headers: { "content-type": "application/json" },
  }).then((answer) => (answer.ok ? answer.json() : {}));

  const report = (kind, value = 1) => {
    if (!counted) return early.push([kind, value]);
    if (sent.has(kind)) return;
    sent.add(kind);
    const body = { kind, value, id };
    // A beacon takes cookies along, which another origin must not.
    if (!own || !nav.sendBeacon(new URL("event", base), new Blob([JSON.stringify(body)], { type: "application/json" })))
      post("event", body).catch(() => 0);
  };
  const counts = () => { counted = true; early.splice(0).forEach((one) => report(...one)); };
  const seen = (proof) => { if (proof) post("seen", { proof, id }).catch(() => 0); counts(); }; // in any order

  // Text goes in as text, never as HTML.
  const put = (texts) => document.querySelectorAll("[data-ar]").forEach((one) => {
    const text = texts[one.dataset.ar];
    if (text === undefined) return;
    if (one.tagName === "IMG") one.src = new URL(text, base);
    else one.textContent = text;
  });

  const decide = async () => {
    const hide = document.createElement("style"), query = new URLSearchParams(location.search);
    hide.textContent = "[data-ar]{visibility:hidden!important}";
    document.head.append(hide);
    let late;
    setTimeout(() => { late = true; hide.remove(); }, me.dataset.ms || 300);
    try {
      const from = document.referrer && new URL(document.referrer).host;
      const given = await post("decide", {
        id: localStorage.getItem("ar_id") || undefined, record: false, referrer: from === location.host ? "" : from,
        medium: `${query.get("utm_medium") || ""} ${query.get("utm_source") || ""}`.slice(0, 100),
      });
      if (!given.id) return;
      localStorage.setItem("ar_id", id = given.id);
      if (given.recorded) counts(); // on an earlier visit
      if (late) return; // the page's own words are being read, so this is no exposure
      put(given.texts);
      if (given.proof) seen(given.proof);
    } finally { hide.remove(); }
  };

  const start = () => {
    if (begun) return;
    begun = true;
    const go = () => (own ? seen(me.dataset.proof) : decide().catch(() => 0)); // then the page's own words stand
    if (document.prerendering) document.addEventListener("prerenderingchange", go, { once: true });
    else go();
  };
  for (const what of ["click", "submit"]) document.addEventListener(what, (event) => {
    const one = event.target.closest?.("[data-outcome]");
    if (one && (what === "submit") === (one.tagName === "FORM")) report(one.dataset.outcome, Number(one.dataset.value || 1));
  }, true);
  window.autoresearch = { start, report };
  if (!("wait" in me.dataset)) start();
})();
