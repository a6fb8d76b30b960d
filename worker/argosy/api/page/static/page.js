// Keeps the page as the server has it: told by a stream, fetched at most once a second, taken over without flicker.
(() => {
  "use strict";
  const BEAT = 35_000; // without a sign of life for so long, the stream is lost; one comes every 15 s
  const POLL = 15_000; // between two looks without a stream
  const PATIENCE = 5_000; // for a stream that is asked for and not there yet
  const AGAIN = 1_000; // between two refreshes
  const FOLLOW = 3_000; // between two looks at a log
  const KEPT = 50; // logs of containers that are gone
  const LONGEST = 30_000; // between two tries to open a stream

  const main = () => document.getElementById("main");
  const live = document.getElementById("live");
  const word = document.getElementById("live-state");
  const button = document.getElementById("pause");
  let source = null, heard = 0, failed = false, foreign = false, paused = false, wanted = false, asking = false, timer = 0, last = Date.now();
  let asked = 0, opened = 0, tries = 0, again = 0; // of the stream: when it was asked for, since when it is open, tries that did not last, when the next one may be
  let ahead = 0; // of this browser's clock before the server's

  // What somebody opened stays open, what they type stays as it is.
  Idiomorph.defaults.ignoreActiveValue = true;
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.localName === "details");

  const streams = () => main().dataset.stream;
  const follows = () => document.querySelector("#follow[data-follow]");
  const connected = () => source !== null && source.readyState === EventSource.OPEN && Date.now() - heard < BEAT;

  const connecting = () => source !== null && source.readyState === EventSource.CONNECTING && !tries && Date.now() - asked < PATIENCE;

  function state() {
    if (paused) return "Paused";
    if (foreign) return "Something else answers in argosy's place; reload to see it";
    if (failed) return "No answer from the server";
    if (follows()) return "Following";
    if (connecting()) return "Connecting";
    return connected() ? "Live" : "Stream lost, asking every 15 s";
  }

  function show() {
    const told = state();
    if (word.textContent !== told) word.textContent = told;
    live.dataset.state = paused ? "paused" : ["Live", "Following", "Connecting"].includes(told) ? "live" : "lost";
  }

  function open() {
    if (source || paused || document.hidden || !streams() || Date.now() < again) return;
    source = new EventSource(streams());
    asked = Date.now();
    const sign = () => { heard = Date.now(); show(); };
    source.addEventListener("open", () => { opened = Date.now(); sign(); wish(); });
    source.addEventListener("beat", sign);
    source.addEventListener("change", () => { sign(); wish(); });
    source.addEventListener("lost", () => { heard = 0; show(); });
    source.addEventListener("error", () => { close(); later(); show(); });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  // A browser would try again every few seconds, all of them at once; a stream that lasted may be opened again soon.
  function later() {
    tries = opened && Date.now() - opened > BEAT ? 0 : tries + 1;
    opened = 0;
    again = Date.now() + Math.min(LONGEST, 1_000 * 2 ** tries) * (0.5 + Math.random() / 2);
  }

  // Wishes that come while one is waited for are one.
  function wish() {
    wanted = true;
    if (timer || asking || paused || document.hidden) return;
    timer = setTimeout(refresh, Math.max(0, last + AGAIN - Date.now()));
  }

  function refresh() {
    timer = 0;
    if (paused || document.hidden || !main().hasAttribute("hx-get")) return;
    wanted = false;
    asking = true;
    htmx.trigger(main(), "refresh");
  }

  function answered(event) {
    if (event.detail.elt.id !== "main") return;
    asking = false;
    last = Date.now();
    failed = !event.detail.successful;
    foreign = !failed && !ours(event.detail.xhr);
    show();
    if (wanted) wish();
  }

  const ours = (xhr) => xhr.getResponseHeader("Argosy-Page") !== null;

  // What a proxy answers in our place, such as a page to sign in, is not taken over, however good its status is.
  function keepOut(event) {
    if (!ours(event.detail.xhr)) event.detail.shouldSwap = false;
  }

  // A log that was read stays when its pod is gone and nothing was kept.
  function keepLog(event) {
    const old = document.getElementById("follow");
    if (!old) return;
    const next = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
    const part = next.getElementById("follow");
    if (!part || part.dataset.attempt !== old.dataset.attempt) return;
    const gone = [...old.querySelectorAll(".log")].filter((each) => !next.getElementById(each.id)).slice(-KEPT);
    if (!gone.length) return;
    part.prepend(...gone.map((each) => each.cloneNode(true)));
    event.detail.serverResponse = next.body.innerHTML;
  }

  // Logs stay at their end if that is where somebody looks.
  let ends = [];
  const noteEnds = () => {
    ends = [...document.querySelectorAll("#follow .log pre")].filter((pre) => pre.scrollHeight - pre.scrollTop - pre.clientHeight < 8).map((pre) => pre.parentNode.id);
  };
  const keepEnds = () => ends.forEach((id) => {
    const pre = document.querySelector(`#${CSS.escape(id)} pre`);
    if (pre) pre.scrollTop = pre.scrollHeight;
  });

  const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
  const UNITS = [[86_400, "d"], [3_600, "h"], [60, "m"], [1, "s"]];

  function age(seconds) {
    const [size, unit] = UNITS.find(([each]) => seconds >= each) || [1, "s"];
    return `${Math.floor(Math.max(0, seconds) / size)}${unit}`;
  }

  function times() {
    for (const each of document.querySelectorAll("time")) {
      const at = new Date(each.dateTime);
      const kind = each.dataset.age;
      const past = age((Date.now() - ahead - at) / 1000);
      const told = kind ? (kind === "for" ? `for ${past}` : `${past} ago`)
        : `${zoned.format(at)} ${zone.formatToParts(at).find((part) => part.type === "timeZoneName").value}`;
      if (each.textContent !== told) each.textContent = told;
    }
  }

  function clock() {
    ahead = Date.now() - Number(main().dataset.now);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) close(); else { open(); wish(); }
    show();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(); else if (!paused) { open(); wish(); }
    show();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) { open(); wish(); } });
  document.body.addEventListener("htmx:beforeSwap", keepOut);
  document.body.addEventListener("htmx:beforeSwap", keepLog);
  document.body.addEventListener("htmx:beforeSwap", noteEnds);
  document.body.addEventListener("htmx:afterSwap", () => { clock(); times(); keepEnds(); });
  document.body.addEventListener("htmx:afterRequest", answered);

  setInterval(() => {
    times();
    if (!streams()) return;
    if (!source) open();
    if (!document.hidden && !paused && !asking && Date.now() - last > (follows() ? FOLLOW : connected() && !failed && !foreign ? Infinity : POLL)) wish();
    show();
  }, 1000);

  clock();
  times();
  if (streams()) {
    live.hidden = false;
    open();
    show();
  }
})();
