/**
 * The pages of what is running now and of the workers. htmx asks every two seconds and gets 204 while nothing has changed; here only
 * what cannot be said in HTML: runs that are the same keep their elements, and the page tells whether it is fresh.
 */
import { keepInPlace } from "./page-swap.js";

const SAID = {
  live: "live",
  "catching-up": "no contact, trying again",
  out: "signed out: reload to sign in",
};

function show(state) {
  const place = document.getElementById("live-state");
  if (place.dataset.state === state) return; // a screen reader hears changes only
  place.dataset.state = state;
  place.textContent = SAID[state];
}

/** Count and title follow the page at once; on other pages the count asks by itself. */
function follow(active) {
  const { count, needing } = active.dataset;
  if (count === undefined) return; // the workers
  document.getElementById("active-count").textContent = Number(count) ? ` (${Number(count).toLocaleString("en")})` : "";
  document.title = `${Number(needing) ? `${needing} waiting: ` : ""}Active · nyxcore`;
}

keepInPlace(follow);
document.body.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!["active", "workers"].includes(detail.target?.id)) return;
  show(detail.xhr.status === 401 ? "out" : detail.successful ? "live" : "catching-up");
});
show("live");
