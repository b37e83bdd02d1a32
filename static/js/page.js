/**
 * The page of a run: opening and closing steps, moving between them, and keeping all that while fragments are
 * replaced. live.js says when something is new; what a person has opened, typed or focused stays as it is.
 */
import * as address from "./page-address.js";
import { Choices } from "./page-choices.js";
import { loadDrawing, showNode, soonDrawing } from "./page-drawing.js";
import { Find } from "./page-find.js";
import { showRun } from "./page-state.js";
import { keepInPlace } from "./page-swap.js";

const main = document.getElementById("live");
const choices = new Choices(document.getElementById("pipeline") ? `nyx.open.${main.dataset.workflow}` : "");
const bar = () => document.getElementById("step-nav");
const strip = () => document.querySelector("#step-nav .step-pills");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const heard = new Map(); // row -> [version, status], the newest of hints and comparisons
const byThemselves = new Set(); // steps that were opened because they ran
let follow = false;

const rows = () => [...document.querySelectorAll(".step-row")];
const stepOf = (row) => row?.querySelector("details.step");
const smooth = () => (calm.matches ? "auto" : "smooth");

// --- opening and closing ------------------------------------------------------------------------------------------

/** Bodies are fetched when they are about to be seen, so that "expand all" of 1,000 steps asks for a screenful. */
const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      load(entry.target);
    }
  },
  { rootMargin: "400px" },
);

async function load(body) {
  const row = body.closest(".step-row");
  if (!row || !body.isConnected || body.dataset.loading) return;
  body.dataset.loading = "1";
  try {
    await window.htmx.ajax("GET", `${row.dataset.src}?part=body`, { source: body, target: body, swap: "outerHTML" });
  } catch {
    delete body.dataset.loading; // the link in it still works
  }
  document.dispatchEvent(new CustomEvent("nyx:refreshed", { detail: { id: row.dataset.liveId } }));
}

function wantBody(step) {
  const body = step.querySelector(":scope > .step-body[data-load]");
  if (body) sight.observe(body);
}

function setOpen(step, open) {
  if (step.open !== open) step.open = open;
  if (open) wantBody(step);
}

/** A person's choice; it wins over whatever the page would do by itself. */
function choose(step, open) {
  choices.set(step.id, open);
  byThemselves.delete(step.id);
  setOpen(step, open);
  tellOpen();
}

function chooseAll(open) {
  choices.setAll(open);
  byThemselves.clear();
  tellOpen();
  const all = rows();
  const seen = Math.max(0, all.findIndex((row) => row.getBoundingClientRect().bottom > 0));
  turnAll([...all.slice(seen), ...all.slice(0, seen).reverse()], open);
}

const AT_ONCE = 100; // steps
let turning = 0;

/** Open or close many steps, those in sight first, some at a time: the page answers meanwhile. */
function turnAll(left, open) {
  clearTimeout(turning);
  for (const row of left.slice(0, AT_ONCE)) setOpen(stepOf(row), choices.get(stepOf(row).id) ?? open);
  if (left.length > AT_ONCE) turning = setTimeout(() => turnAll(left.slice(AT_ONCE), open));
}

const IN_ADDRESS = 100; // opened steps; a longer address breaks in some mail
let telling = 0;

/** The address names what is open: all but some, some, or none. */
function tellOpen() {
  if (!document.getElementById("pipeline") || telling) return;
  telling = setTimeout(() => {
    telling = 0;
    const named = (wanted) => rows().map(stepOf).filter((step) => step.open === wanted).map((step) => step.id.slice(5)).slice(0, IN_ADDRESS).join(".");
    if (choices.all) address.write({ open: "all", shut: shutByHand() });
    else if (choices.all === false && choices.single.size === 0) address.write({ open: "none", shut: null });
    else address.write({ open: named(true) || "none", shut: null });
  }, 50);
}

const shutByHand = () => [...choices.single].filter(([, open]) => !open).map(([id]) => id.slice(5)).slice(0, IN_ADDRESS).join(".");

/** What the address says about open steps is a choice, and a newer one than what this browser remembers. */
function adoptAddress() {
  const open = address.read("open");
  if (open === null || !document.getElementById("pipeline") || (address.isOwn() && choices.any)) return;
  const named = new Set((open === "all" ? (address.read("shut") ?? "") : open).split(".").map((pk) => `step-${pk}`));
  choices.all = open === "all" ? true : undefined;
  choices.single.clear();
  for (const step of rows().map(stepOf)) {
    if (open === "all" ? named.has(step.id) : named.has(step.id) || step.open) choices.single.set(step.id, open !== "all" && named.has(step.id));
  }
  choices.save();
}

/** Bring a step (new on the page, or newly fetched) to what was chosen, or to what its state suggests. */
function adopt(row) {
  const step = stepOf(row);
  const chosen = choices.get(step.id);
  if (chosen !== undefined) setOpen(step, chosen);
  else if (atWork(row)) {
    byThemselves.add(step.id);
    setOpen(step, true);
  } else if (row.dataset.status !== "running" && byThemselves.has(step.id) && outOfSight(row)) {
    byThemselves.delete(step.id);
    setOpen(step, false);
  }
  if (step.open) wantBody(step);
}

/** Runs, and waits neither for a worker nor for another try: then there is something to be seen. */
const atWork = (row) => row.dataset.status === "running" && row.dataset.word === "Running";

function outOfSight(row) {
  const box = row.getBoundingClientRect();
  return box.bottom < 0 || box.top > innerHeight;
}

// --- moving -------------------------------------------------------------------------------------------------------

const barSheet = new CSSStyleSheet(); // the content security policy allows no style attribute
let barHeight = 0;

/** Before each jump too: the observer tells of the search that was just closed only with the next frame. */
function measureBar() {
  const height = bar()?.offsetHeight;
  if (!height || height === barHeight) return;
  barHeight = height;
  barSheet.replaceSync(`:root { --bar: ${height}px; }`);
}

/** Open a step, bring it clear of the bar, and put the focus on its line. */
function goTo(id, { open = true, focus = true } = {}) {
  const step = document.getElementById(id);
  if (!step?.classList.contains("step")) return false;
  if (step.closest(".step-row").hidden) find.clear();
  if (open) choose(step, true);
  measureBar();
  step.closest(".step-row").scrollIntoView({ behavior: smooth(), block: "start" });
  if (focus) step.querySelector("summary").focus({ preventScroll: true });
  mark(step.id);
  return true;
}

let marked = null;
let byClick = 0; // until when a jump's own target stays marked, whatever scrolls by

function mark(id, settle = 700) {
  byClick = Date.now() + settle;
  markPill(id);
}

function markPill(id) {
  const pills = strip();
  const pill = pills?.querySelector(`.step-pill[href="#${CSS.escape(id)}"]`);
  if (!pill || (pill === marked && pill.ariaCurrent)) return;
  for (const other of pills.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  pill.setAttribute("aria-current", "true");
  marked = pill;
  // Not scrollIntoView: that would scroll the page too.
  showPill(pills, pill);
  // Pills that were never seen have a guessed width: look again where it ended.
  if (pills.classList.contains("many")) setTimeout(() => pill === marked && showPill(pills, pill), 500);
  showNode(id);
}

function showPill(pills, pill) {
  const left = pill.offsetLeft - pills.offsetLeft;
  if (left < pills.scrollLeft + 24 || left + pill.offsetWidth > pills.scrollLeft + pills.clientWidth - 24) {
    pills.scrollTo({ left: left - pills.clientWidth / 3, behavior: smooth() });
  }
}

/** The step under the bar is the one being read. */
function inView() {
  if (!bar() || Date.now() < byClick) return;
  const box = bar().getBoundingClientRect();
  const at = document.elementFromPoint(box.left + box.width / 2, Math.max(box.bottom, 0) + 24);
  const row = at?.closest(".step-row");
  if (row) markPill(stepOf(row).id);
}

function current() {
  const focused = document.activeElement?.closest?.(".step-row");
  if (focused) return focused;
  const id = marked?.hash.slice(1);
  return id ? document.getElementById(id)?.closest(".step-row") : null;
}

function move(by, wanted = () => true) {
  const all = rows().filter((row) => !row.hidden || wanted === needsAPerson);
  const here = all.indexOf(current());
  for (let n = 1; n <= all.length; n += 1) {
    const index = wanted === always ? here + by * n : (here + by * n + all.length) % all.length;
    if (index < 0 || index >= all.length) return;
    if (wanted(all[index])) {
      goTo(stepOf(all[index]).id, { open: wanted !== always });
      return;
    }
  }
}
const always = () => true;
const NEEDS_A_PERSON = new Set(["failed", "cut_off", "waiting"]);
const needsAPerson = (row) => NEEDS_A_PERSON.has(row.dataset.status);

/** The button to the next step that needs somebody says how many there are. */
function countNeeds() {
  const button = document.getElementById("next-needed");
  if (!button) return;
  const count = document.querySelectorAll(':is([data-status="failed"], [data-status="cut_off"], [data-status="waiting"]).step-row').length;
  button.hidden = count === 0;
  const said = button.querySelector("b");
  if (said.textContent !== String(count)) said.textContent = count;
}

// --- following ----------------------------------------------------------------------------------------------------

function setFollow(on) {
  follow = on;
  const button = document.getElementById("follow");
  if (button) button.ariaPressed = String(on);
  if (on) followNow();
}

function followNow(stream = null) {
  const shown = stream ?? [...document.querySelectorAll(".stream")].at(-1);
  const row = shown?.closest(".step-row") ?? document.querySelector('.step-row[data-status="running"]');
  if (!row) return;
  if (!shown) return goTo(stepOf(row).id, { focus: false });
  const below = shown.getBoundingClientRect().bottom - (innerHeight - 32);
  if (below > 0) scrollBy({ top: below, behavior: "auto" });
}

// --- what live.js brings ------------------------------------------------------------------------------------------

/** Pill and drawing show the same status as their step. */
function mirror(row, links = document.querySelectorAll(`a[href="#${CSS.escape(stepOf(row).id)}"][data-status]`)) {
  const { status, word } = row.dataset;
  for (const link of links) {
    if (link.dataset.status !== status) {
      soonDrawing();
      link.dataset.status = status;
      link.querySelector("use")?.setAttribute("href", `#s-${status}`);
    }
    const said = link.querySelector(".vh");
    if (said) said.textContent = ` ${word}`;
    const title = link.querySelector("title");
    if (title) title.textContent = title.textContent.replace(/: [^:]*$/, `: ${word}`);
  }
}

/** The header counts over all rows, so it changes with each of them; a row that is not here asks for the whole. */
function hear(id, version, status, shown = document.querySelector(`[data-live-id="${CSS.escape(id)}"]`)) {
  if (version <= (heard.get(id)?.[0] ?? -1)) return;
  const first = !heard.has(id);
  heard.set(id, [version, status]);
  if (!shown) soonWhole();
  else if (!first || Number(shown.dataset.version) < version) soonRun();
}
document.addEventListener("nyx:hint", ({ detail }) => hear(detail.id, detail.version, detail.status));
document.addEventListener("nyx:state", ({ detail }) => {
  // One walk for all of them: a look through the page for each of 1,000 rows would hold it up.
  const shown = new Map([...document.querySelectorAll("[data-live-id]")].map((element) => [element.dataset.liveId, element]));
  for (const [id, [version, status]] of Object.entries(detail.rows)) hear(id, version, status, shown.get(id) ?? null);
});

let runTimer = 0;
let runShownAt = 0;

/** Fetch the header, at most once a second, unless it has come meanwhile by a hint of its own. */
function soonRun() {
  if (runTimer || !document.getElementById("run")) return;
  const askedAt = Date.now();
  runTimer = setTimeout(() => {
    runTimer = 0;
    if (runShownAt <= askedAt) refetch(document.getElementById("run"));
  }, Math.max(200, runShownAt + 1_000 - askedAt));
}

let wholeTimer = 0;

function soonWhole() {
  if (wholeTimer || !document.getElementById("pipeline")) return;
  wholeTimer = setTimeout(() => {
    wholeTimer = 0;
    for (const id of ["pipeline", "step-nav"]) refetch(document.getElementById(id));
  }, 300);
}

/** The fragment again; a failure is told by htmx's events, and the next comparison asks again. */
function refetch(element) {
  if (!element) return;
  window.htmx.ajax("GET", element.dataset.src, { source: element, target: element, swap: "outerHTML" }).catch((error) => console.warn(error));
}
document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.requestConfig?.verb !== "get") soonRun();
});

/** A step that is open, or will be because it runs, is fetched with its body: one request, no jump. */
document.body.addEventListener("htmx:configRequest", (event) => {
  const { target, verb, parameters, path } = event.detail;
  if (verb !== "get" || path.includes("part=")) return;
  if (!target?.classList?.contains("step-row")) return;
  const step = stepOf(target);
  if (step.open) parameters.open = "1";
  else if (heard.get(step.id)?.[1] === "running" && choices.get(step.id) === undefined) parameters.open = "at-work";
});
document.body.addEventListener("htmx:configRequest", (event) => {
  const { target, parameters, path } = event.detail;
  if (target?.id !== "pipeline" || !path.includes("part=pipeline")) return;
  parameters.view = document.getElementById("drawing").dataset.view;
  parameters.open = rows().map(stepOf).filter((step) => step.open && !step.querySelector("[data-load]")).map((step) => step.id.slice(5)).join(",");
});

keepInPlace((fresh) => {
  if (fresh.matches(".step-row")) {
    adopt(fresh);
    mirror(fresh);
  } else adoptAll(fresh);
  if (fresh.id !== "run") {
    countNeeds();
    find.changed();
  }
  if (fresh.id === "run") {
    runShownAt = Date.now();
    showRun();
  }
  if (follow) followNow();
});

function adoptAll(fresh) {
  const links = new Map();
  for (const link of document.querySelectorAll(".step-pill, a.node")) {
    const id = link.getAttribute("href").slice(1);
    links.set(id, [...(links.get(id) ?? []), link]);
  }
  for (const row of fresh.querySelectorAll(".step-row")) {
    adopt(row);
    mirror(row, links.get(stepOf(row).id) ?? []);
  }
}

document.addEventListener("nyx:drawn", () => find.active && find.apply());
document.addEventListener("nyx:text", (event) => {
  if (follow) followNow(event.target);
});

// --- wiring -------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const line = event.target.closest("summary");
  const step = line?.parentElement;
  if (step?.classList.contains("step") && !event.target.closest("a, button")) {
    choices.set(step.id, !step.open); // the browser toggles it right after this
    byThemselves.delete(step.id);
    tellOpen();
    return;
  }
  const link = event.target.closest('a[href^="#step-"]');
  if (link && !event.metaKey && !event.ctrlKey && goTo(link.getAttribute("href").slice(1))) {
    event.preventDefault();
    history.pushState(history.state, "", link.getAttribute("href"));
  }
});
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.classList?.contains("step") && event.target.open) wantBody(event.target);
    if (event.target.id === "settings" && event.target.open) loadSettings(event.target);
  },
  true, // toggle does not bubble
);

function loadSettings(panel) {
  const place = panel.querySelector(".settings-body");
  if (place.dataset.loaded) return;
  place.dataset.loaded = "1";
  window.htmx.ajax("GET", panel.dataset.loadFrom, { source: place, target: place, swap: "innerHTML" }).catch(() => {
    delete place.dataset.loaded;
  });
}

window.addEventListener("popstate", () => goTo(location.hash.slice(1), { focus: false }));
window.addEventListener("hashchange", () => goTo(location.hash.slice(1)));
document.addEventListener("click", (event) => {
  const button = event.target.closest("#expand-all, #collapse-all, #follow, #next-needed, #show-keys");
  if (button?.id === "follow") setFollow(!follow);
  else if (button?.id === "next-needed") move(1, needsAPerson);
  else if (button?.id === "show-keys") document.getElementById("keys")?.showModal();
  else if (button) chooseAll(button.id === "expand-all");
});
for (const name of ["wheel", "touchmove"]) {
  addEventListener(name, (event) => follow && (event.deltaY ?? -1) < 0 && setFollow(false), { passive: true });
}

let pending = 0;
const soon = () => {
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    inView();
  });
};
addEventListener("scroll", soon, { passive: true });

const KEYS = {
  e: () => chooseAll(true),
  c: () => chooseAll(false),
  j: () => move(1, always),
  k: () => move(-1, always),
  n: () => move(1, needsAPerson),
  l: () => setFollow(!follow),
  "/": () => find.open(),
  "?": () => document.getElementById("keys")?.showModal(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
  const act = KEYS[event.key];
  if (!act || !bar()) return;
  event.preventDefault();
  act();
});

// --- start --------------------------------------------------------------------------------------------------------

function watchBar() {
  document.adoptedStyleSheets.push(barSheet);
  measureBar();
  new ResizeObserver(measureBar).observe(bar());
}

const find = new Find(goTo);
if (bar()) watchBar();
adoptAddress();
choices.forEach((id, open) => {
  const step = document.getElementById(id);
  if (step) setOpen(step, open);
});
if (choices.all !== undefined) turnAll(rows(), choices.all);
for (const step of document.querySelectorAll("details.step[open]")) {
  wantBody(step);
  if (choices.get(step.id) === undefined && step.dataset.status === "running") byThemselves.add(step.id);
}
countNeeds();
showRun();
if (document.querySelector(".drawing[data-later]")) (window.requestIdleCallback ?? setTimeout)(() => loadDrawing("graph"));
if (location.hash.startsWith("#step-")) {
  goTo(location.hash.slice(1));
  // The browser's own jump to the address comes later, and takes the focus away.
  if (document.readyState !== "complete") addEventListener("load", () => setTimeout(() => goTo(location.hash.slice(1))));
} else if (marked === null) {
  const here = strip()?.querySelector("[aria-current]");
  if (here) begin(here.hash.slice(1));
}

/** The page begins at the step that runs or needs somebody, if that would be out of sight; a reload stays where it was. */
function begin(id) {
  markPill(id);
  const row = document.getElementById(id)?.closest(".step-row");
  const [visit] = performance.getEntriesByType("navigation");
  if (!row || row.hidden || row.dataset.status === "completed" || visit?.type !== "navigate") return;
  if (row.getBoundingClientRect().top < innerHeight * 0.7) return;
  mark(id);
  row.scrollIntoView({ behavior: "instant", block: "start" });
}
