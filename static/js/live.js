/**
 * Live pages. `<main id="live">` carries data-channel, data-token, data-events-url, data-token-url, data-state-url
 * and data-login-url; live-fresh.js and live-text.js say what fragments and texts carry.
 *
 * A stream brings hints ("this row has version 7 now") and text; the fragments are fetched by ordinary requests.
 * Nothing relies on the stream being complete: on every (re)connect, after every gap, when the page is looked at
 * again, and every 30 s while something is open, the versions on the page are compared with those of the server.
 * Without a stream the comparison runs every 5 s. `#live-state` says which of these is the case now.
 *
 * For other modules: `nyx:text` on an element that text was added to; on `document` `nyx:refreshed` {id} after a
 * fragment was replaced, `nyx:state` {rows, open} after a comparison, `nyx:hint` {id, version, status}.
 */
import { Fragments } from "./live-fresh.js";
import { Refused, getJson, jitter } from "./live-http.js";
import { TextStreams } from "./live-text.js";

const COMPARE_EVERY = 30_000; // ms
const POLL_EVERY = 5_000;
const POLL_AFTER = 2_500; // without a stream, before the first poll
const GREETED_WITHIN = 10_000; // a proxy that buffers shows itself by this
const QUIET = 25_000; // the server pings after 15 s; from here on "live" would be a guess
const DEAD = 45_000;
const HIDDEN_FOR = 60_000; // then the connection is given back, and none is opened: a browser has six for all its tabs
const SLEPT = 15_000; // between two ticks: the machine slept or the page was frozen
const WAITS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

const WORDS = {
  live: ["live", "Live: changes show at once."],
  "catching-up": ["catching up", "Catching up with the server."],
  polling: ["polling", "The event stream cannot be reached; this page asks the server every few seconds."],
  "signed-out": ["signed out", "You are signed out. This page shows what was known before."],
  "no-access": ["no access", "This page is gone, or you have no access to it any more."],
};

class Live {
  constructor(main) {
    this.data = main.dataset;
    this.token = this.data.token ?? "";
    this.link = null; // the open connection that brings events
    this.candidate = null; // one that is being opened, beside the old one when only the token changes
    this.refused = ""; // "signed-out" or "no-access": nothing is tried until the page is looked at again
    this.failures = 0;
    this.retryAt = 0;
    this.pollAt = Date.now() + POLL_AFTER;
    this.compareAt = 0;
    this.polled = false; // the last comparison without a stream worked
    this.open = true;
    this.gaps = 0; // counts what may have been missed; a comparison is good for the gaps before it
    this.comparedGaps = -1;
    this.comparing = null;
    this.hiddenAt = document.hidden ? Date.now() : 0;
    this.tickedAt = Date.now();
    const refused = () => this.compare(); // which says whether we are signed out or only that fragment is gone
    this.texts = new TextStreams(refused);
    this.loginUrl = this.data.loginUrl ?? "/accounts/login/";
    this.fragments = new Fragments(this.data.channel, this.loginUrl, refused, () => this.show(), this.data.lumped);
  }

  start() {
    document.addEventListener("visibilitychange", () => this.look());
    window.addEventListener("pageshow", (event) => event.persisted && this.look());
    window.addEventListener("pagehide", () => this.disconnect());
    window.addEventListener("online", () => this.look());
    window.addEventListener("offline", () => this.link && this.drop(this.link));
    document.addEventListener("nyx:refreshed", () => this.texts.adopt());
    setInterval(() => this.tick(), 1_000);
    this.tick();
  }

  // --- time ---------------------------------------------------------------------------------------------------

  /** Do what is due. One timer for everything: after a sleep all of it is late at once and is put right here. */
  tick() {
    const now = Date.now();
    const slept = now - this.tickedAt > SLEPT || now < this.tickedAt;
    this.tickedAt = now;
    if (!this.refused) {
      if (slept) {
        this.wake();
        this.compare();
      }
      if (this.hiddenAt && (!this.link || now - this.hiddenAt > HIDDEN_FOR)) this.disconnect();
      else this.tend(now);
      if (!this.isLive(now) && now >= this.pollAt) this.poll(now);
      else if (this.isLive(now) && this.open && now >= this.compareAt) this.compare();
    }
    this.show();
  }

  /** Open, replace or give up connections. */
  tend(now) {
    for (const link of [this.link, this.candidate]) {
      if (link && now - link.heardAt > (link.greeted ? DEAD : GREETED_WITHIN)) this.drop(link);
    }
    if (this.candidate || now < this.retryAt) return;
    if (!this.link || now >= this.link.renewAt) this.connect(this.link !== null);
  }

  poll(now) {
    this.pollAt = now + jitter(this.hiddenAt || !this.open ? COMPARE_EVERY : POLL_EVERY);
    this.compare().then((worked) => worked && this.texts.catchUp());
  }

  /** The page is seen again, or the network is back. */
  look() {
    this.hiddenAt = document.hidden ? Date.now() : 0;
    if (document.hidden) return;
    this.refused = ""; // perhaps the person has signed in meanwhile, in another tab
    this.wake();
    this.compare();
    this.tick();
  }

  /** Time has passed unseen: trust no old connection, and do not wait for the next turn. */
  wake() {
    if (this.link && Date.now() - this.link.heardAt > QUIET) this.drop(this.link);
    this.failures = 0;
    this.retryAt = 0;
    this.compareAt = 0;
  }

  // --- connection ---------------------------------------------------------------------------------------------

  async connect(renew) {
    if (!window.EventSource) return;
    const link = { source: null, greeted: false, live: false, heardAt: Date.now(), renewAt: Infinity };
    this.candidate = link;
    try {
      if (renew || !this.token) this.token = (await getJson(this.data.tokenUrl)).token;
    } catch (error) {
      if (error instanceof Refused) this.refuse(error.kind);
      else this.drop(link);
      return;
    }
    if (this.candidate !== link) return; // given up meanwhile
    const separator = this.data.eventsUrl.includes("?") ? "&" : "?";
    link.source = new EventSource(`${this.data.eventsUrl}${separator}token=${encodeURIComponent(this.token)}`);
    link.source.onerror = () => this.drop(link); // never the browser's own loop: it repeats refused requests
    for (const name of ["hello", "ping", "hint", "text", "resync", "away", "expired"]) {
      link.source.addEventListener(name, (event) => this.hear(link, name, event.data));
    }
  }

  /** Close a connection that failed or is not trusted, and try again later; the first time soon. */
  drop(link) {
    link.source?.close();
    if (link !== this.link && link !== this.candidate) return;
    if (!link.greeted) this.token = ""; // it may be the token that was refused
    if (link === this.candidate) this.candidate = null;
    if (link === this.link) {
      this.link = null;
      this.unseen();
    }
    this.retryAt = Date.now() + jitter(WAITS[Math.min(this.failures, WAITS.length - 1)]);
    this.failures += 1;
    this.show();
  }

  disconnect() {
    for (const link of [this.link, this.candidate]) link?.source?.close();
    if (this.link) this.unseen();
    this.link = this.candidate = null;
    this.show();
  }

  hear(link, name, data) {
    if (link !== this.link && link !== this.candidate) return;
    link.heardAt = Date.now();
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      this.missed(); // whatever it was, the rows know
      return;
    }
    this[`on_${name}`](link, said);
  }

  on_hello(link, { live, expires_in: seconds }) {
    link.greeted = true;
    link.live = live;
    link.renewAt = Date.now() + seconds * 1_000 * (0.7 + Math.random() * 0.2);
    const old = this.link;
    this.link = link;
    this.candidate = null;
    old?.source.close();
    if (!old) this.texts.catchUp();
    this.missed(0);
  }

  on_ping(link, { live }) {
    if (live && !link.live) this.missed();
    link.live = live;
  }

  on_hint(link, hint) {
    document.dispatchEvent(new CustomEvent("nyx:hint", { detail: hint }));
    this.fragments.see(hint.id, hint.version);
  }

  on_text(link, piece) {
    this.texts.receive(piece);
  }

  on_resync(link) {
    link.live = true;
    this.missed(Math.random() * 500, () => this.texts.catchUp());
  }

  on_away(link) {
    link.live = false; // the connection stands, but nothing can come over it
    this.unseen();
    this.show();
  }

  /** From now on things happen that no event tells. */
  unseen() {
    this.gaps += 1;
    this.polled = false;
    this.pollAt = Date.now() + jitter(POLL_AFTER);
  }

  on_expired(link) {
    this.token = "";
    this.failures = 0;
    this.drop(link);
    this.retryAt = Date.now() + Math.random() * 500;
  }

  /** Something may have been missed: not live until the page has been compared. */
  missed(delay = 0, then = null) {
    this.gaps += 1;
    this.show();
    setTimeout(() => this.compare().then((worked) => worked && then?.()), delay);
  }

  // --- comparison ---------------------------------------------------------------------------------------------

  /** Compare versions with the server; true if that worked. Calls made meanwhile share the next run. */
  compare() {
    if (this.comparing) {
      this.again ??= this.comparing.then(() => {
        this.again = null;
        return this.compare();
      });
      return this.again;
    }
    this.comparing = this.ask().finally(() => {
      this.comparing = null;
      this.show();
    });
    return this.comparing;
  }

  async ask() {
    const gaps = this.gaps;
    this.compareAt = Date.now() + jitter(COMPARE_EVERY);
    try {
      const state = await getJson(this.data.stateUrl);
      this.comparedGaps = gaps;
      if (this.link || !this.polled) this.failures = 0;
      if (!this.link && !this.polled) this.retryAt = 0; // the server is back
      this.polled = true;
      this.open = Boolean(state.open);
      this.fragments.forgive();
      this.fragments.seeAll(Object.entries(state.rows).map(([id, [version]]) => [id, version]));
      document.dispatchEvent(new CustomEvent("nyx:state", { detail: state }));
      return true;
    } catch (error) {
      if (error instanceof Refused) this.refuse(error.kind);
      this.polled = false;
      this.gaps += 1;
      return false;
    }
  }

  refuse(kind) {
    this.refused = kind;
    this.disconnect();
  }

  // --- the sign -----------------------------------------------------------------------------------------------

  /** True only if events can come and everything before them has been compared. */
  isLive(now) {
    const link = this.link;
    if (!link?.live || now - link.heardAt > QUIET) return false;
    return this.comparedGaps === this.gaps && !this.fragments.failed;
  }

  mode() {
    if (this.refused) return this.refused;
    if (this.isLive(Date.now())) return "live";
    return this.polled && !this.link?.live ? "polling" : "catching-up";
  }

  show() {
    const sign = document.getElementById("live-state");
    const mode = this.mode();
    if (!sign || sign.dataset.state === mode) return;
    const [word, sentence] = WORDS[mode];
    sign.dataset.state = mode;
    sign.setAttribute("role", "status");
    sign.setAttribute("aria-live", "polite");
    sign.setAttribute("aria-label", sentence);
    sign.title = sentence;
    sign.textContent = word;
    if (this.refused) sign.append(" ", this.signIn());
  }

  signIn() {
    const anchor = document.createElement("a");
    const here = encodeURIComponent(location.pathname + location.search);
    anchor.href = `${this.loginUrl}?next=${here}`;
    anchor.textContent = "Sign in";
    return anchor;
  }
}

const main = document.getElementById("live");
if (main) new Live(main).start();
