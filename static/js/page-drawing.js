/** The drawing of a run: graph, timeline or words, as the server makes them; kept fresh and in sight. */
import * as address from "./page-address.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

let drawingTimer = 0;

/** Durations and the critical path change when a step has ended: fetch the drawing anew, at most every 2 s. */
export function soonDrawing() {
  drawingTimer ||= setTimeout(() => {
    drawingTimer = 0;
    loadDrawing(document.getElementById("drawing")?.dataset.view);
  }, 2_000);
}

export async function loadDrawing(view) {
  const old = document.getElementById("drawing");
  if (!old) return;
  try {
    const answer = await fetch(`${old.dataset.src}&view=${encodeURIComponent(view)}`, { headers: { "HX-Request": "true", "X-Live": "1" } });
    if (!answer.ok) return;
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    const fresh = holder.content.firstElementChild;
    if (fresh?.id !== "drawing" || !old.isConnected) return;
    const [from, focused] = [old.querySelector(".drawing"), old.contains(document.activeElement) ? document.activeElement.dataset.view : null];
    const scrolled = view === old.dataset.view ? [from.scrollLeft, from.scrollTop] : null;
    old.replaceWith(fresh);
    if (scrolled) fresh.querySelector(".drawing").scrollTo({ left: scrolled[0], top: scrolled[1], behavior: "instant" });
    if (focused) fresh.querySelector(`.switch [data-view="${focused}"]`)?.focus({ preventScroll: true });
    document.dispatchEvent(new CustomEvent("nyx:drawn"));
  } catch (error) {
    console.warn(error); // it comes with the next change
  }
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("#drawing .switch a");
  if (!link || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  address.write({ view: link.dataset.view === "graph" ? null : link.dataset.view });
  loadDrawing(link.dataset.view);
});

/** Keep the step's node in sight where the drawing is wider or higher than its frame. */
export function showNode(id) {
  const frame = document.querySelector(".drawing");
  const node = frame?.querySelector(`a.node[href="#${CSS.escape(id)}"]`)?.getBoundingClientRect();
  if (!node) return;
  const box = frame.getBoundingClientRect();
  const [x, y] = [node.left - box.left, node.top - box.top];
  const seen = x >= 0 && x + node.width <= box.width && y >= 0 && y + node.height <= box.height;
  if (!seen) frame.scrollBy({ left: x - box.width / 3, top: y - box.height / 2, behavior: calm.matches ? "auto" : "smooth" });
}
