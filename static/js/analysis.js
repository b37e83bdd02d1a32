/**
 * The page of an analysis: keeps what a person has there while fragments are replaced, loads folders and findings
 * when they are opened, and lets findings be judged by keyboard. Without it everything is a link or a plain form.
 */
import { newsArrived, showCount } from "./analysis-news.js";
import { showRun } from "./page-state.js";
import { keepInPlace } from "./page-swap.js";

const AT_MOST_EVERY = 1_500; // ms between two looks at the units
let shownAt = 0;
let timer = 0;

// --- what live.js brings ------------------------------------------------------------------------------------------

/** Units are many and are shown together: any hint about one asks for what shows them, but not for each by itself. */
document.addEventListener("nyx:hint", ({ detail }) => {
  if (!detail.id.startsWith("unit-") || timer) return;
  timer = setTimeout(() => {
    timer = 0;
    shownAt = Date.now();
    for (const element of document.querySelectorAll('[data-live-id^="units-"]')) refetch(element);
  }, Math.max(200, shownAt + AT_MOST_EVERY - Date.now()));
});

function refetch(element) {
  const refreshed = () => document.dispatchEvent(new CustomEvent("nyx:refreshed", { detail: { id: element.dataset.liveId } }));
  window.htmx
    .ajax("GET", element.dataset.src, { source: element, target: element, swap: "outerHTML" })
    .then(refreshed, (error) => console.warn(error));
}

keepInPlace((fresh) => {
  if (fresh.id === "run") showRun();
  if (fresh.id === "progress") showCount(fresh);
  if (fresh.id === "news") newsArrived(fresh);
  if (fresh.id === "tab") {
    current()?.classList.add("current");
    offerKeys();
  }
});

// --- what is loaded when it is opened -----------------------------------------------------------------------------

document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.open) load(event.target.querySelector(":scope > [data-load]"));
  },
  true, // toggle does not bubble
);

function load(place) {
  if (!place || place.dataset.loading) return;
  place.dataset.loading = "1";
  const isFinding = place.classList.contains("finding-body");
  return window.htmx
    .ajax("GET", place.dataset.load, { source: place, target: place, swap: isFinding ? "outerHTML" : "innerHTML" })
    .catch(() => delete place.dataset.loading); // the link in it still works
}

/** A folder that is left out takes everything below with it: its boxes show that, and cannot say otherwise. */
document.addEventListener("change", ({ target }) => {
  if (target.name === "exclude") below(target.closest("li"), target.checked);
});
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const folder = detail.target?.closest?.("li.folder");
  const box = folder?.querySelector(":scope > input[name=exclude]");
  if (box && (box.checked || box.disabled)) below(folder, true);
});

function below(folder, off) {
  folder.classList.toggle("left-out", off);
  for (const box of folder.querySelectorAll(":scope ul input")) box.disabled = off;
}

// --- findings -----------------------------------------------------------------------------------------------------

const all = () => [...document.querySelectorAll("article.finding[id]")];
const opened = (finding) => finding?.querySelector("details");
let currentId = "";

const current = () => document.getElementById(currentId) ?? null;

function choose(finding, { focus = true } = {}) {
  current()?.classList.remove("current");
  if (!finding) return;
  currentId = finding.id;
  finding.classList.add("current");
  if (focus) finding.querySelector("summary").focus({ preventScroll: true });
  finding.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const list = all();
  const at = list.indexOf(current());
  choose(list[at < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + by, 0), list.length - 1)]);
}

/** Sends what was decided; the answer is the finding's line as it is now. The next one is then the current. */
async function judge(finding, verb, values = {}) {
  if (!finding || finding.dataset.sending) return;
  finding.dataset.sending = "1";
  const list = all();
  const next = list[list.indexOf(finding) + 1];
  const open = opened(finding).open;
  const { id } = finding;
  const group = document.getElementById("tab")?.dataset.group ?? "file";
  await window.htmx
    .ajax("POST", `${finding.dataset.finding}${verb}/`, { source: finding, target: finding, swap: "outerHTML", values: { ...values, group, open: open ? "1" : "" } })
    .catch(() => {}); // app.js has said what went wrong
  delete finding.dataset.sending;
  const fresh = document.getElementById(id);
  const failed = fresh?.querySelector("[role=alert]");
  choose(verb === "undo" || open || failed || !next ? fresh : next);
}

const dialog = () => document.getElementById("dismiss");

function ask(finding) {
  const box = dialog();
  if (!finding || !box) return;
  box.querySelector("#dismiss-of").textContent = finding.querySelector(".finding-title").textContent;
  box.querySelector("#dismiss-note").value = "";
  box.returnValue = "";
  box.onclose = () => {
    if (box.returnValue !== "dismiss") return choose(finding);
    judge(finding, "dismiss", { why: box.querySelector("#dismiss-why").value, note: box.querySelector("#dismiss-note").value });
  };
  box.showModal();
  box.querySelector("#dismiss-why").focus();
}
document.addEventListener("keydown", (event) => {
  // Enter in the dialog means the answer, not the way back.
  if (event.key !== "Enter" || !event.target.closest?.("#dismiss :is(select, input)")) return;
  event.preventDefault();
  dialog().close("dismiss");
});

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  o: () => current() && toggle(current()),
  a: () => judge(current(), "accept"),
  d: () => ask(current()),
  u: () => judge(current(), "undo"),
  "?": () => document.getElementById("keys")?.showModal(),
};

function toggle(finding) {
  opened(finding).open = !opened(finding).open;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
  const act = KEYS[event.key];
  if (!act || !document.querySelector(".tab.findings")) return;
  event.preventDefault();
  act();
});
document.addEventListener("focusin", ({ target }) => {
  const finding = target.closest("article.finding[id]");
  if (finding && finding.id !== currentId) choose(finding, { focus: false });
});
document.addEventListener("click", ({ target }) => {
  if (target.closest("#show-keys")) document.getElementById("keys").showModal();
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest(".triage form");
  const finding = form?.closest("article.finding[id]");
  if (!finding) return;
  event.preventDefault();
  judge(finding, form.dataset.verb, Object.fromEntries(new FormData(form)));
});

// --- start --------------------------------------------------------------------------------------------------------

function offerKeys() {
  const keys = document.getElementById("show-keys");
  if (keys) keys.hidden = false;
}

/** On a small screen the tabs go on behind the edge; the one that is shown is seen. */
function showTab() {
  const tabs = document.querySelector(".tabs");
  if (!tabs) return;
  const here = tabs.querySelector("[aria-current]");
  tabs.scrollLeft = here.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - here.offsetWidth) / 2;
}

showRun();
offerKeys();
showTab();
