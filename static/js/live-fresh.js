/**
 * Keeps the page's fragments fresh. An element says which row it shows and in which version (data-live-id,
 * data-version) and where it comes from (data-src); when a newer version is heard of, it is fetched again.
 * Requests for one element are never doubled; what changed meanwhile is fetched when the first has arrived.
 */
const AT_ONCE = 4; // requests; a browser gives one server six connections over HTTP/1.1, for all tabs together
const MANY = 12; // stale elements inside one fragment: fetch that instead
const PATIENCE = 15_000; // ms for one request
const TRIES = 3; // for a row whose fragment stays behind its version; then the next comparison decides

const path = (url) => new URL(url, document.baseURI).pathname;
const showing = (id) => document.querySelectorAll(`[data-live-id="${CSS.escape(id)}"]`);

export class Fragments {
  constructor(channel, loginUrl, onRefused, onChange, lumped = "") {
    this.channel = channel;
    this.lumped = lumped; // rows whose id begins so are shown together by others; they are not looked for one by one
    this.loginPath = path(loginUrl);
    this.onRefused = onRefused;
    this.onChange = onChange;
    this.latest = new Map(); // row -> newest version heard of
    this.wanted = new Set(); // elements to fetch
    this.busy = new Set(); // elements being fetched
    this.tries = new Map();
    this.searched = new Set(); // rows that are not on the page, although all of it was fetched
    this.failed = false; // something on the page is old and could not be fetched
    // Before all others: whoever else swaps by hand must find the decision made.
    document.addEventListener("htmx:beforeSwap", (event) => this.guard(event), true);
  }

  /** A row has (at least) this version now. */
  see(id, version) {
    this.learn(id, version, showing(id));
    this.pump();
  }

  /** All rows at once, [id, version]: one walk through the page, not one for each of 1,000 rows. */
  seeAll(rows) {
    const shown = new Map();
    for (const element of document.querySelectorAll("[data-live-id]")) {
      const { liveId } = element.dataset;
      shown.set(liveId, [...(shown.get(liveId) ?? []), element]);
    }
    for (const [id, version] of rows) this.learn(id, version, shown.get(id) ?? []);
    this.pump();
  }

  learn(id, version, elements) {
    if (version > (this.latest.get(id) ?? -1)) {
      this.latest.set(id, version);
      this.tries.delete(id);
    }
    if (!elements.length) this.search(id);
    for (const element of elements) this.check(element);
  }

  /** Everything is going to be compared: old failures may be tried again. */
  forgive() {
    this.failed = false;
    this.tries.clear();
  }

  get idle() {
    return this.wanted.size === 0 && this.busy.size === 0;
  }

  check(element) {
    const id = element.dataset.liveId;
    if (Number(element.dataset.version ?? -1) >= (this.latest.get(id) ?? -1)) return;
    const target = element.closest("[data-src]");
    if (!target || this.busy.has(target)) return;
    if ((this.tries.get(id) ?? 0) >= TRIES) this.failed = true;
    else this.wanted.add(target);
  }

  /** A row that the page does not show yet: fetch the fragments of the whole, once. */
  search(id) {
    if (id === this.channel || this.searched.has(id) || (this.lumped && id.startsWith(this.lumped))) return;
    this.searched.add(id);
    for (const element of showing(this.channel)) if (element.dataset.src) this.wanted.add(element);
  }

  pump() {
    this.gather();
    for (const element of this.wanted) {
      if (this.busy.size >= AT_ONCE) break;
      if (this.busy.has(element)) continue;
      this.wanted.delete(element);
      if (element.isConnected) this.fetch(element);
    }
  }

  /** Many stale elements inside one larger fragment: fetch that one instead. */
  gather() {
    if (this.wanted.size <= MANY) return;
    const groups = new Map();
    for (const element of this.wanted) {
      const group = element.parentElement?.closest("[data-live-id][data-src]");
      if (group) groups.set(group, [...(groups.get(group) ?? []), element]);
    }
    for (const [group, elements] of groups) {
      if (elements.length <= MANY) continue;
      for (const element of elements) this.wanted.delete(element);
      this.wanted.add(group);
    }
  }

  async fetch(element) {
    const id = element.dataset.liveId;
    this.busy.add(element);
    this.tries.set(id, (this.tries.get(id) ?? 0) + 1);
    const timer = setTimeout(() => window.htmx.trigger(element, "htmx:abort"), PATIENCE);
    try {
      await window.htmx.ajax("GET", element.dataset.src, { source: element, target: element, swap: "outerHTML" });
    } catch {
      this.failed = true; // htmx has reported it; the next comparison tries again
    } finally {
      clearTimeout(timer);
      this.busy.delete(element);
    }
    if (element.isConnected) this.failed = true;
    else document.dispatchEvent(new CustomEvent("nyx:refreshed", { detail: { id } }));
    if (!this.failed && this.wanted.size === 0) this.recheck();
    this.pump();
    this.onChange();
  }

  /** What has come may be older than what was heard of meanwhile. */
  recheck() {
    for (const element of document.querySelectorAll("[data-live-id]")) this.check(element);
  }

  /** Never put a login page in the place of a fragment, whoever asked for it. */
  guard(event) {
    const { requestConfig, pathInfo, xhr } = event.detail;
    if (xhr.status === 401 || (pathInfo.responsePath && path(pathInfo.responsePath) === this.loginPath)) {
      event.detail.shouldSwap = false;
      this.onRefused();
    } else if (xhr.status >= 400 && this.busy.has(requestConfig.elt)) {
      event.detail.shouldSwap = false; // the comparison tells what is to be said about it
    }
  }
}
