/**
 * What every page has: choice of colours, times in the reader's zone, copy buttons, questions before what cannot be
 * undone, and a sentence where a request fails. Without this file pages can still be read and forms still be sent.
 */
const DAY = 86_400;

// --- colours ------------------------------------------------------------------------------------------------------

function initTheme() {
  const group = document.querySelector(".theme-switch");
  if (!group) return;
  group.hidden = false;
  const show = (chosen) => {
    for (const button of group.children) button.ariaPressed = String(button.dataset.themeChoice === chosen);
  };
  show(document.documentElement.dataset.theme ?? "");
  group.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-theme-choice]")?.dataset.themeChoice;
    if (chosen === undefined) return;
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    // A cookie, so that the server's first byte has the right colours already.
    document.cookie = `theme=${chosen}; path=/; max-age=${chosen ? 400 * DAY : 0}; samesite=lax`;
    show(chosen);
  });
}

// --- times --------------------------------------------------------------------------------------------------------

const clockOffset = () => {
  const said = document.querySelector("[data-now]")?.dataset.now;
  return said ? Date.now() - Date.parse(said) : 0;
};
let offset = clockOffset(); // this machine's clock less the server's, when the page was made

const two = (number) => String(number).padStart(2, "0");

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours] = [Math.floor(whole / DAY), Math.floor((whole % DAY) / 3600)];
  const [minutes, rest] = [Math.floor((whole % 3600) / 60), whole % 60];
  if (days) return `${days} d ${two(hours)}:${two(minutes)}`;
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${two(minutes)}:${two(rest)}`;
}

function relative(at) {
  const gone = (Date.now() - offset - at) / 1000;
  const span = Math.abs(gone);
  if (gone >= 0 ? span < 45 : span < 5) return gone >= 0 ? "just now" : "now";
  let words;
  if (span < 60) words = `${Math.floor(span)} s`;
  else if (span < 3600) words = `${Math.floor(span / 60)} min`;
  else if (span < DAY) words = `${Math.floor(span / 3600)} h`;
  else if (span < 7 * DAY) words = `${Math.floor(span / DAY)} d`;
  else return new Date(at).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
  return gone >= 0 ? `${words} ago` : `in ${words}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // what is selected stays selected
}

function showTimes() {
  for (const time of document.querySelectorAll("time[data-when]")) {
    const at = Date.parse(time.dateTime);
    if (!time.dataset.local) {
      time.dataset.local = "1";
      time.title = new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
      if (time.dataset.when === "clock") setText(time, new Date(at).toLocaleTimeString(undefined, { timeStyle: "short" }));
    }
    if (time.dataset.when === "relative") setText(time, relative(at));
  }
}

function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    setText(element, duration((Date.now() - offset - Date.parse(element.dataset.since)) / 1000));
  }
}

// --- copying ------------------------------------------------------------------------------------------------------

async function copy(button) {
  let text = "";
  if (button.dataset.copyUrl) {
    const answer = await fetch(button.dataset.copyUrl, { credentials: "same-origin" });
    if (!answer.ok) return say("The text could not be fetched; try again.");
    text = await answer.text();
  } else {
    const source = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.closest("pre")?.querySelector("code");
    const bare = source?.cloneNode(true);
    for (const mark of bare?.querySelectorAll(".seam-mark") ?? []) mark.remove();
    text = bare?.textContent ?? "";
  }
  await toClipboard(text);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
}

async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // plain http on another host has no clipboard
  area.value = text;
  area.className = "vh";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Copy buttons for blocks of code; wide tables become reachable by keyboard. */
function dress(root) {
  for (const pre of root.querySelectorAll(".prose pre:not([data-dressed])")) {
    pre.dataset.dressed = "1";
    pre.tabIndex = 0;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.title = "Copy the code";
    button.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-copy"/></svg><span class="vh">Copy the code</span>';
    pre.append(button);
  }
  for (const figure of root.querySelectorAll(".prose figure:not([tabindex])")) figure.tabIndex = 0;
}

// --- words --------------------------------------------------------------------------------------------------------

/** A sentence above the page; "" takes it away. */
export function say(sentence) {
  const notice = document.getElementById("notice");
  if (notice) notice.textContent = sentence;
}

const FAILED = {
  401: "You are signed out. Sign in again in another tab, then repeat this.",
  403: "The server did not accept this. Reload the page and try again; nothing was changed.",
  404: "This is gone, or you have no access to it any more. Reload the page.",
  413: "This is too large for the server. Shorten it and try again.",
};

const cookie = (name) => document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);

/** The token of now: a sign-in in another tab has made the one in the page void, and what was typed must still go. */
function sendTokens() {
  document.body.addEventListener("htmx:configRequest", (event) => {
    const token = cookie("csrftoken");
    const { verb, parameters, headers, target } = event.detail;
    if (verb === "get") {
      if (target?.dataset?.liveId) headers["X-Live"] = "1";
    } else if (token) {
      headers["X-CSRFToken"] = token;
      if (parameters.csrfmiddlewaretoken) parameters.csrfmiddlewaretoken = token;
    }
  });
}

function listenToFailures() {
  document.body.addEventListener("htmx:beforeOnLoad", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (xhr.status !== 401 || requestConfig.verb === "get") return;
    event.preventDefault(); // the way to the login would cost what was typed
    say(FAILED[401]);
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (event.detail.requestConfig?.verb === "get" && event.detail.elt?.dataset?.liveId) return; // live.js tries again
    say(FAILED[status] ?? `The server answered with an error (${status}). Nothing was changed; try again.`);
  });
  document.body.addEventListener("htmx:sendError", (event) => {
    if (event.detail.requestConfig?.verb !== "get") say("The server did not answer. Look whether it happened before you try again.");
  });
  document.body.addEventListener("htmx:beforeRequest", (event) => event.detail.requestConfig.verb !== "get" && say(""));
}

// --- questions ----------------------------------------------------------------------------------------------------

function ask(question, yes) {
  const dialog = document.createElement("dialog");
  dialog.innerHTML = `<form method="dialog"><p></p><p class="actions"><button class="button" value="">No, go back</button><button class="button primary" value="yes" autofocus>Yes</button></p></form>`;
  dialog.querySelector("p").textContent = question;
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "yes") yes();
    dialog.remove();
  });
  dialog.showModal();
}

// --- sending ------------------------------------------------------------------------------------------------------

const AGAIN = 5_000; // ms; later it is meant

/** The second click of a double click must not send a form again: it would make, and pay, a second run. */
function sendOnce() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.getAttribute("method") !== "post" || form.hasAttribute("hx-post")) return;
    if (Date.now() - Number(form.dataset.sent ?? 0) < AGAIN) event.preventDefault();
    else form.dataset.sent = Date.now();
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent; // came back to
  });
}

// --- input --------------------------------------------------------------------------------------------------------

/** Tell how much of the allowed size a form's text takes, while it is typed. */
function countInput() {
  for (const line of document.querySelectorAll("[data-size-limit]")) {
    const form = line.closest("form");
    const limit = Number(line.dataset.sizeLimit);
    const told = line.textContent;
    const encoder = new TextEncoder();
    const count = () => {
      let bytes = 0;
      for (const field of form.querySelectorAll("[name^='input-']")) bytes += encoder.encode(field.value).length;
      line.textContent = bytes ? `${told} Now: ${bytes.toLocaleString("en")} of ${limit.toLocaleString("en")} bytes.` : told;
      line.classList.toggle("error", bytes > limit);
    };
    form.addEventListener("input", count);
    count();
  }
}

// --- start --------------------------------------------------------------------------------------------------------

initTheme();
showTimes();
tick();
dress(document);
countInput();
sendOnce();
setInterval(tick, 1000);
setInterval(showTimes, 15_000);
sendTokens();
listenToFailures();
document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button);
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});
document.body.addEventListener("htmx:confirm", (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  ask(event.detail.question, () => event.detail.issueRequest(true));
});
for (const name of ["htmx:afterSwap", "nyx:swapped"]) {
  document.addEventListener(name, (event) => {
    const root = event.detail?.root ?? event.target;
    showTimes();
    tick();
    if (!root.querySelectorAll) return;
    dress(root);
    root.querySelector(".field.wrong :is(input, select, textarea), [aria-invalid='true']")?.focus();
  });
}
