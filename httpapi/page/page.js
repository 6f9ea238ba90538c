// The page's scripts: everything works without them; they save loading the whole page again.

import { ask, hasToken, part, setToken } from "./ask.js";
import { recompute } from "./hash.js";
import { follow } from "./tail.js";
import { wireVerify } from "./verify.js";

const byId = (id) => document.getElementById(id);
const main = document.querySelector("main");

/** swap puts a part of the page in the place of the one that is there; what was folded open stays so. */
function swap(name, part) {
  const old = byId(name);
  if (!old || !part) return;
  for (const open of old.querySelectorAll("details[open][id]")) part.querySelector("#" + open.id)?.setAttribute("open", "");
  old.replaceWith(part);
  wire(name);
}

/** wire makes a part work that has just come. */
function wire(name) {
  if (name === "state") wireVerify(swap);
  if (name === "event") checkHash();
  if (name === "events") watchEnd();
  if (name === "lately") askForChart();
}

// The list: more rows as one scrolls, and the filters without a new page.

const ending = new IntersectionObserver((entries) => {
  if (entries.some((e) => e.isIntersecting)) loadMore();
}, { rootMargin: "600px" });
let loading = false;

function watchEnd() {
  ending.disconnect();
  const link = document.querySelector("#events .more a");
  if (link) ending.observe(link);
}

async function loadMore() {
  const link = document.querySelector("#events .more a");
  if (!link || loading) return;
  loading = true;
  try {
    const events = await part("events", link.href);
    document.querySelector("#events tbody").append(...events.querySelectorAll("tbody tr"));
    document.querySelector("#events .more").replaceWith(events.querySelector(".more"));
    watchEnd();
  } finally {
    loading = false;
  }
}

function filterURL() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(byId("filters"))) if (value) query.append(name, value);
  return "/" + (query.size ? "?" + query : "");
}

/** askForChart gets the chart that the page came without, unless the filters are others by then. */
async function askForChart() {
  const place = document.querySelector("#lately [data-later]");
  if (!place) return;
  place.textContent = "Counting …";
  const chart = await part("lately", location.href);
  if (place.isConnected) swap("lately", chart);
}

// The open event.

async function open(url, push = true) {
  if (push) history.pushState(null, "", url);
  const id = new URL(url, location.href).searchParams.get("event");
  const event = await part("event", url);
  swap("event", event);
  byId("content").classList.toggle("open", id !== null);
  for (const row of document.querySelectorAll("#events tr.chosen")) row.classList.remove("chosen");
  byId("e" + id)?.classList.add("chosen");
  document.title = id ? `Event ${id} · Event store` : "Event store";
  if (!id) return;
  byId("event").querySelector("h2")?.focus({ preventScroll: true });
  const top = byId("event").getBoundingClientRect().top;
  if (top < 0 || top > innerHeight / 2) byId("event").scrollIntoView();
}

function close() {
  const url = new URL(location.href);
  const id = url.searchParams.get("event");
  if (!id) return;
  url.searchParams.delete("event");
  open(url.href);
  byId("e" + id)?.querySelector("a").focus();
}

async function checkHash() {
  const hashes = byId("hashes");
  if (!hashes) return;
  const verdict = byId("verdict");
  const say = (text, kind) => Object.assign(verdict, { textContent: text, className: "verdict " + kind });
  if (!globalThis.crypto?.subtle) return say("This browser computes SHA-256 only for https and for 127.0.0.1.", "");
  try {
    const line = (await (await ask("/events/" + hashes.dataset.id)).text()).trimEnd();
    const hash = await recompute(line);
    byId("recomputed").textContent = hash;
    const same = hash === byId("stored").textContent;
    say(same ? "✓ The same: the event is as it was chained." : "✗ They differ: this event was altered.", same ? "good" : "bad");
  } catch (problem) {
    say("✗ It could not be recomputed: " + problem.message, "bad");
  }
}

// Live tail.

let tail = null;

function toggleTail() {
  if (tail) stopTail();
  else startTail();
}

function stopTail() {
  tail.abort();
  tail = null;
  delete byId("tail").dataset.waiting;
  byId("tail").setAttribute("aria-pressed", "false");
}

/** startTail follows the filters of the URL; what comes is put on top, so the list begins with the newest first. */
function startTail() {
  tail = new AbortController();
  byId("tail").setAttribute("aria-pressed", "true");
  const here = new URL(location.href);
  for (const name of ["before", "after", "order"]) here.searchParams.delete(name);
  if (here.href !== location.href) return go(here.href); // and starts again there
  const url = new URL("/events/stream" + here.search, here);
  for (const name of ["limit", "event"]) url.searchParams.delete(name);
  follow(url, main.dataset.head, tail.signal, arrived, (state) => byId("tail").toggleAttribute("data-waiting", state === "waiting"));
}

function restartTail() {
  if (!tail) return;
  stopTail();
  startTail();
}

let refreshing = null;

/** arrived shows new events, several at once where they come fast. */
function arrived(id) {
  main.dataset.head = id;
  refreshing ??= setTimeout(async () => {
    refreshing = null;
    await refresh().catch(() => {});
  }, 200);
}

async function refresh() {
  const url = new URL(location.href);
  url.searchParams.delete("event");
  const top = document.querySelector("#events tbody tr")?.dataset.id;
  if (top) url.searchParams.set("after", top);
  const events = await part("events", url);
  if (!top || events.querySelector(".more a")) swap("events", await part("events", location.href));
  else {
    const rows = [...events.querySelectorAll("tbody tr")];
    for (const row of rows) row.classList.add("new");
    document.querySelector("#events tbody").prepend(...rows);
  }
  await refreshOverview();
}

let overviewAt = 0;

/** refreshOverview is for the state and the chart, which need not follow every event; not for one that reads everything. */
async function refreshOverview() {
  if (Date.now() - overviewAt < 2000 || !byId("progress")?.hidden) return;
  overviewAt = Date.now();
  swap("state", await part("state", location.href));
  if (!new URLSearchParams(location.search).has("q")) swap("lately", await part("lately", location.href));
}

// Events of the whole page.

async function go(url, push = true) {
  if (push) history.pushState(null, "", url);
  const answer = await ask(url);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  take(page.querySelector("main"));
}

function take(fresh) {
  for (const name of Object.keys(main.dataset)) delete main.dataset[name];
  Object.assign(main.dataset, fresh.dataset);
  main.replaceChildren(...fresh.childNodes);
  begin();
  restartTail();
}

document.addEventListener("submit", (event) => {
  if (event.target.id === "filters") {
    event.preventDefault();
    go(filterURL());
  }
  if (event.target.id === "token") {
    event.preventDefault();
    setToken(new FormData(event.target).get("token"));
    event.target.reset();
    go(location.href, false);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.name === "category") go(filterURL());
});

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("#tail")) return toggleTail();
  const link = event.target.closest("a") ?? event.target.closest("#events tbody tr")?.querySelector("a");
  if (!link || link.origin !== location.origin || link.pathname !== "/") return;
  event.preventDefault();
  if (link.rel === "next") loadMore();
  else if (link.id === "close") close();
  else if (new URL(link.href).searchParams.has("event") && byId("event")) open(link.href);
  else go(link.href);
});

addEventListener("popstate", () => go(location.href, false));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return close();
  if (event.target.matches("input, textarea, select")) return;
  const keys = { j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), l: toggleTail,
    "/": () => document.querySelector("#filters [name=q]")?.focus() };
  if (!keys[event.key] || (event.key.startsWith("Arrow") && !document.activeElement.closest("#events"))) return;
  event.preventDefault();
  keys[event.key]();
});

/** move takes the focus to the next row, or the one before. */
function move(by) {
  const rows = [...document.querySelectorAll("#events tbody tr")];
  const at = rows.indexOf(document.activeElement.closest("tr"));
  rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.querySelector("a").focus();
}

// What fails is said on the page; a refusal has said it already.
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  if (event.reason?.message === "refused") return;
  byId("trouble").textContent = "That did not work: " + event.reason?.message;
  byId("trouble").hidden = false;
});

document.addEventListener("refused", (event) => {
  byId("token").hidden = false;
  const place = byId("refused");
  if (place) place.textContent = event.detail;
});

/** begin is for the page as it came, and for the one that a token opened. */
function begin() {
  const locked = "locked" in main.dataset;
  byId("token").hidden = !locked && !hasToken();
  byId("tail").hidden = locked;
  byId("keys").hidden = locked;
  for (const name of ["state", "event", "events", "lately"]) wire(name);
}

begin();
if ("locked" in main.dataset && hasToken()) go(location.href, false);
