/**
 * Showing only some steps: by status, and by words in titles, prompts and answers. The server looks through the
 * closed ones too and says how often; in what is open here the words are marked.
 */
import * as address from "./page-address.js";

const NEEDS_A_PERSON = ["failed", "cut_off", "waiting"];
const DONE = ["completed", "skipped"];
const TYPING = 250; // ms
const MARKS = 2_000; // at most; more say nothing
const bar = () => document.getElementById("find");
const field = () => document.getElementById("find-q");
const choice = () => document.getElementById("find-status");
const pkOf = (row) => row.dataset.liveId.slice(5);

const matches = (status, wanted) => {
  if (!wanted) return true;
  if (wanted === "needs") return NEEDS_A_PERSON.includes(status);
  if (wanted === "left") return !DONE.includes(status);
  return status === wanted;
};

export class Find {
  constructor(goTo) {
    this.goTo = goTo;
    this.q = (address.read("q") ?? "").trim();
    this.status = address.read("status") ?? "";
    this.hits = new Map(); // step -> [title, prompt, output]
    this.timer = 0;
    this.marking = 0;
    this.asking = null;
    if (!bar()) return;
    document.getElementById("find-open").hidden = false;
    if (this.q || this.status) this.show();
    this.listen();
    if (this.q) this.ask();
    else if (this.status) this.apply();
  }

  listen() {
    document.addEventListener("input", (event) => {
      if (event.target === field()) {
        this.q = field().value.trim();
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.ask(), TYPING);
      } else if (event.target === choice()) {
        this.status = choice().value;
        address.write({ status: this.status });
        this.apply();
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && bar().contains(event.target)) this.close();
      if (event.key === "Enter" && event.target === field()) {
        event.preventDefault();
        this.next(event.shiftKey ? -1 : 1);
      }
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest("#find-open, #find-close, #find-next, #clear-find");
      if (button?.id === "find-open") bar().hidden ? this.open() : this.close();
      else if (button?.id === "find-next") this.next(1);
      else if (button) this.close();
    });
    for (const name of ["nyx:refreshed", "nyx:text"]) document.addEventListener(name, () => this.markSoon());
    document.addEventListener("toggle", () => this.markSoon(), true);
  }

  get active() {
    return Boolean(this.q || this.status);
  }

  open() {
    this.show();
    this.apply(); // for the counts
    field().focus();
    field().select();
  }

  show() {
    bar().hidden = false;
    document.getElementById("find-open").ariaExpanded = "true";
    field().value = this.q;
    choice().value = this.status;
    if (choice().selectedIndex < 0) choice().value = this.status = "";
  }

  close() {
    const focused = bar().contains(document.activeElement);
    this.clear();
    bar().hidden = true;
    const opener = document.getElementById("find-open");
    opener.ariaExpanded = "false";
    if (focused) opener.focus();
  }

  clear() {
    [this.q, this.status] = ["", ""];
    clearTimeout(this.timer);
    this.asking?.abort();
    this.hits.clear();
    if (field()) [field().value, choice().value] = ["", ""];
    address.write({ q: null, status: null });
    this.apply();
  }

  /** Ask the server where the words occur; an older question that is still under way is dropped. */
  async ask() {
    this.asking?.abort();
    address.write({ q: this.q });
    if (!this.q) {
      this.hits.clear();
      return this.apply();
    }
    const asking = (this.asking = new AbortController());
    const url = `${location.pathname}?part=find&q=${encodeURIComponent(this.q)}`;
    try {
      const answer = await fetch(url, { signal: asking.signal, headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.hits = new Map(Object.entries((await answer.json()).hits));
      this.apply();
    } catch (error) {
      if (error.name !== "AbortError") this.say("The search failed; try again.");
    }
  }

  /** Rows have changed: what is shown may have to change, and while words are searched, they may be new there. */
  changed() {
    if (!bar() || (!this.active && bar().hidden)) return;
    this.apply();
    if (!this.q) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 2_000);
  }

  apply() {
    const links = new Map();
    for (const link of document.querySelectorAll('.step-pill, a.node[href^="#step-"]')) {
      const id = link.getAttribute("href").slice(6);
      links.set(id, [...(links.get(id) ?? []), link]);
    }
    const counts = new Map();
    let [shown, times] = [0, 0];
    for (const row of document.querySelectorAll(".step-row")) {
      const { status } = row.dataset;
      counts.set(status, (counts.get(status) ?? 0) + 1);
      const hits = this.q ? this.hits.get(pkOf(row)) : undefined;
      const on = matches(status, this.status) && (!this.q || hits !== undefined);
      if (row.hidden === on) row.hidden = !on;
      if (on) shown += 1;
      const sum = hits ? hits[0] + hits[1] + hits[2] : 0;
      if (on) times += sum;
      note(row, hits);
      for (const link of links.get(pkOf(row)) ?? []) mirror(link, on, sum);
    }
    this.count(counts);
    document.getElementById("no-hit").hidden = shown > 0 || !this.active;
    const steps = `${shown} step${shown === 1 ? "" : "s"}`;
    this.say(this.q ? `${times} hit${times === 1 ? "" : "s"} in ${steps}` : this.status ? steps : "");
    this.markSoon();
  }

  count(counts) {
    for (const option of choice()?.options ?? []) {
      let sum = 0;
      for (const [status, number] of counts) if (matches(status, option.value)) sum += number;
      const words = `${option.dataset.word} (${sum})`;
      if (option.textContent !== words) option.textContent = words;
      option.disabled = sum === 0 && option.value !== this.status;
    }
  }

  say(words) {
    const line = document.getElementById("find-said");
    if (line && line.textContent !== words) line.textContent = words;
  }

  next(by) {
    const rows = [...document.querySelectorAll(".step-row:not([hidden])")];
    if (!rows.length || !this.active) return;
    const here = rows.findIndex((row) => row === this.at);
    this.at = rows[(here + by + rows.length) % rows.length];
    this.goTo(`step-${pkOf(this.at)}`, { focus: document.activeElement !== field() });
  }

  markSoon() {
    this.marking ||= requestAnimationFrame(() => {
      this.marking = 0;
      this.mark();
    });
  }

  /** Mark the words in what is open, without touching the text: live parts are replaced under the marks. */
  mark() {
    if (!globalThis.CSS?.highlights) return;
    const wanted = this.q.toLowerCase();
    if (!wanted) return CSS.highlights.delete("found");
    const ranges = [];
    for (const root of document.querySelectorAll(".step-row:not([hidden]) :is(.step-title, details[open] > .step-body)")) {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node && ranges.length < MARKS; node = walker.nextNode()) {
        const text = node.data.toLowerCase();
        for (let at = text.indexOf(wanted); at >= 0 && ranges.length < MARKS; at = text.indexOf(wanted, at + wanted.length)) {
          if (at + wanted.length <= node.length) ranges.push(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: at + wanted.length }));
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }
}

function note(row, hits) {
  const said = hits ? ["title", "prompt", "answer"].map((where, index) => (hits[index] ? `${hits[index]} in the ${where}` : "")).filter(Boolean).join(", ") : "";
  const line = row.querySelector("summary");
  if (said) line.dataset.hits = said;
  else delete line.dataset.hits;
}

function mirror(link, on, hits) {
  if (!link.classList.contains("step-pill")) {
    link.classList.toggle("off", !on);
    return;
  }
  if (link.hidden === on) link.hidden = !on;
  let badge = link.querySelector(".hits");
  if (!hits) badge?.remove();
  else {
    if (!badge) {
      badge = document.createElement("b");
      badge.className = "hits";
      link.append(badge);
    }
    badge.textContent = hits;
  }
}
