/** What is chosen on the page, kept in its address: a link that is sent on shows the same. */
const SOON = 200; // ms; browsers allow only so many changes of the address
const waiting = new Map();
let timer = 0;

export function read(name) {
  return waiting.has(name) ? waiting.get(name) : new URLSearchParams(location.search).get(name);
}

/** Set parameters of the address; null or "" takes one away. No entry of the history is made. */
export function write(changes) {
  for (const [name, value] of Object.entries(changes)) waiting.set(name, value || null);
  clearTimeout(timer);
  timer = setTimeout(put, SOON);
}

/** True where the address was last written here, not pasted: then this browser remembers at least as much. */
export const isOwn = () => history.state?.own === true;

function put() {
  const asked = new URLSearchParams(location.search);
  for (const [name, value] of waiting) {
    if (value === null) asked.delete(name);
    else asked.set(name, value);
  }
  waiting.clear();
  const query = asked.toString();
  const there = `${location.pathname}${query ? `?${query}` : ""}${location.hash}`;
  if (there !== `${location.pathname}${location.search}${location.hash}`) history.replaceState({ own: true }, "", there);
}
