/**
 * Text that is written while one watches it.
 *
 * Each piece carries its offset in Unicode code points (JavaScript counts UTF-16 units, so an emoji is two). A piece
 * is shown only when it joins what is shown; what comes too early is held while the gap is fetched. So nothing is
 * doubled and nothing is missing, whatever the stream repeats, drops or reorders.
 */
import { Refused, getJson, jitter } from "./live-http.js";

const FRAME_CHARS = 16_384; // written into the page in one frame; keeps tasks short
const BLOCK_CHARS = 2_000;
const HELD_CHARS = 1_000_000;
const RECENT_CHARS = 20_000; // of each attempt, to fill an element that replaces another one
const RECENT_ATTEMPTS = 32;

const isPair = (text, index) =>
  (text.charCodeAt(index) & 0xfc00) === 0xd800 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;

/** The number of code points in `text`. */
export function codePoints(text) {
  let count = text.length;
  for (let index = 0; index < text.length - 1; index += 1) {
    if (isPair(text, index)) {
      count -= 1;
      index += 1;
    }
  }
  return count;
}

/** `text` without its first `count` code points. */
export function cut(text, count) {
  let index = 0;
  for (let left = count; left > 0 && index < text.length; left -= 1) index += isPair(text, index) ? 2 : 1;
  return text.slice(index);
}

/** Puts pieces together by their offsets. */
export class Joiner {
  constructor(offset) {
    this.offset = offset; // of what comes next
    this.held = []; // [offset, text] beyond a gap, ordered
    this.heldChars = 0;
  }

  /** Take a piece; return the text that now joins ("" if it is known already or has to wait). */
  accept(offset, text) {
    if (offset > this.offset) {
      this.hold(offset, text);
      return "";
    }
    let joined = this.join(offset, text);
    while (this.held.length && this.held[0][0] <= this.offset) {
      const [next, later] = this.held.shift();
      this.heldChars -= later.length;
      joined += this.join(next, later);
    }
    return joined;
  }

  get waits() {
    return this.held.length > 0;
  }

  /** Forget what is held: the text has ended without it. */
  release() {
    this.held = [];
    this.heldChars = 0;
  }

  join(offset, text) {
    const end = offset + codePoints(text);
    if (end <= this.offset) return "";
    const fresh = cut(text, this.offset - offset);
    this.offset = end;
    return fresh;
  }

  hold(offset, text) {
    if (this.heldChars + text.length > HELD_CHARS) return; // it is fetched instead
    let at = this.held.length;
    while (at > 0 && this.held[at - 1][0] > offset) at -= 1;
    this.held.splice(at, 0, [offset, text]);
    this.heldChars += text.length;
  }
}

/**
 * Writes into an element in blocks of some lines, so that the browser lays out only the last one again and not the
 * whole of a long text.
 */
class Paper {
  constructor(element) {
    this.element = element;
    this.block = element;
    this.chars = 0;
    this.lineEnded = true;
    const before = element.textContent;
    if (before.length <= BLOCK_CHARS) {
      this.chars = before.length;
      this.lineEnded = before.endsWith("\n");
    } else {
      element.textContent = "";
      this.write(before);
    }
  }

  write(text) {
    for (let rest = text; rest; ) {
      if (this.chars > BLOCK_CHARS && this.lineEnded) this.begin();
      const line = rest.indexOf("\n", Math.max(0, BLOCK_CHARS - this.chars));
      const end = line < 0 ? rest.length : line + 1;
      this.block.append(rest.slice(0, end)); // a text node of its own: what stands there is not touched
      this.chars += end;
      this.lineEnded = rest[end - 1] === "\n";
      rest = rest.slice(end);
    }
  }

  begin() {
    this.block = document.createElement("span");
    this.block.style.display = "block";
    this.element.append(this.block);
    this.chars = 0;
  }
}

/** One element that shows the text of an attempt while it is written. */
class View {
  constructor(element, streams) {
    this.element = element;
    this.streams = streams;
    this.attempt = Number(element.dataset.attempt);
    this.shown = Number(element.dataset.offset) || 0; // code points in the page
    this.joiner = new Joiner(this.shown);
    this.pending = []; // joined, not yet in the page
    this.paper = new Paper(element);
    this.fetching = false;
    this.ended = false;
    this.timer = 0;
    this.tries = 0;
  }

  accept(offset, text) {
    const joined = this.joiner.accept(offset, text);
    if (joined) {
      this.pending.push(joined);
      this.streams.paintSoon(this);
    }
    if (this.joiner.waits && !this.timer) this.fetch();
  }

  /** Ask for what comes after the text so far; again and again as long as there is a gap, since the row that is
   *  asked lags the stream by a second. */
  async fetch() {
    if (this.fetching || this.ended || !this.element.isConnected) return;
    clearTimeout(this.timer);
    this.timer = 0;
    this.fetching = true;
    try {
      const url = new URL(this.element.dataset.textUrl, document.baseURI);
      url.searchParams.set("offset", this.joiner.offset);
      this.take(await getJson(url));
    } catch (error) {
      if (error instanceof Refused) {
        this.ended = true;
        this.streams.onRefused();
      }
      this.tries += 1;
    } finally {
      this.fetching = false;
    }
    if (this.joiner.waits && !this.ended) {
      this.timer = setTimeout(() => this.fetch(), jitter(Math.min(500 * 2 ** this.tries, 5_000)));
    }
  }

  take(answer) {
    if (Number(answer.attempt) !== this.attempt) return;
    const before = this.joiner.offset;
    this.accept(answer.offset, answer.text);
    this.tries = this.joiner.offset > before ? 0 : this.tries + 1;
    if (answer.ended) {
      this.ended = true;
      this.joiner.release();
    }
  }

  /** Put up to `room` characters into the page; return how many. */
  paint(room) {
    let text = "";
    while (this.pending.length && text.length < room) {
      let piece = this.pending.shift();
      const most = room - text.length;
      if (piece.length > most) {
        const end = most > 1 && isPair(piece, most - 1) ? most - 1 : Math.max(most, 2);
        this.pending.unshift(piece.slice(end));
        piece = piece.slice(0, end);
      }
      text += piece;
    }
    if (!text) return 0;
    this.paper.write(text);
    this.shown += codePoints(text);
    this.element.dataset.offset = this.shown;
    const detail = { attempt: this.attempt, offset: this.shown, added: text.length };
    this.element.dispatchEvent(new CustomEvent("nyx:text", { bubbles: true, detail }));
    return text.length;
  }
}

/** All streaming texts of the page. Elements are looked up when something happens, since fragments replace them. */
export class TextStreams {
  constructor(onRefused) {
    this.onRefused = onRefused;
    this.views = new WeakMap();
    this.recent = new Map(); // attempt -> pieces
    this.dirty = new Set();
    this.frame = 0;
  }

  /** A text event: {attempt, offset, text}. */
  receive({ attempt, offset, text }) {
    if (!Number.isInteger(attempt) || !Number.isInteger(offset) || typeof text !== "string") return;
    this.remember(attempt, offset, text);
    for (const element of document.querySelectorAll(`.stream[data-attempt="${attempt}"]`)) {
      const view = this.view(element); // a new one has just been given this piece with the recent ones
      view.accept(offset, text);
    }
  }

  /** Elements came into the page: fill them with what their predecessors had already shown. */
  adopt() {
    for (const element of document.querySelectorAll(".stream[data-attempt]")) this.view(element);
  }

  /** The stream had a gap, or there is none: fetch what is new. */
  catchUp() {
    for (const element of document.querySelectorAll(".stream[data-attempt]")) this.view(element).fetch();
  }

  view(element) {
    let view = this.views.get(element);
    if (!view || view.attempt !== Number(element.dataset.attempt)) {
      view = new View(element, this);
      this.views.set(element, view);
      for (const [offset, text] of this.recent.get(view.attempt) ?? []) view.accept(offset, text);
      view.paint(RECENT_CHARS * 2); // now, not in the next frame: nobody is to see the text shrink
    }
    return view;
  }

  remember(attempt, offset, text) {
    const pieces = this.recent.get(attempt) ?? [];
    this.recent.delete(attempt);
    this.recent.set(attempt, pieces); // the latest are last
    pieces.push([offset, text]);
    pieces.chars = (pieces.chars ?? 0) + text.length;
    while (pieces.chars > RECENT_CHARS && pieces.length > 1) pieces.chars -= pieces.shift()[1].length;
    if (this.recent.size > RECENT_ATTEMPTS) this.recent.delete(this.recent.keys().next().value);
  }

  paintSoon(view) {
    this.dirty.add(view);
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  /** One frame's worth of text, shared fairly by the views that have some. */
  paint() {
    this.frame = 0;
    const share = Math.max(256, Math.floor(FRAME_CHARS / this.dirty.size));
    for (const view of [...this.dirty]) {
      view.paint(share);
      if (!view.pending.length || !view.element.isConnected) this.dirty.delete(view);
    }
    if (this.dirty.size) this.frame = requestAnimationFrame(() => this.paint());
  }
}
