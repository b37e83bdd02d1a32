/**
 * Replacing live fragments without losing what a person has there: typed text, opened folds, the focus. Parts that
 * have not changed (data-part) keep their very elements, so that nothing moves or blinks under the pointer.
 */
const live = (target) => target?.matches?.("[data-live-id]");

/** Take over htmx's swap of every live fragment; `arrived` gets each new element. */
export function keepInPlace(arrived) {
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form) form.dataset.typed = "1";
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { target, shouldSwap, xhr, requestConfig } = event.detail;
    if (!shouldSwap || !live(target) || xhr.status === 204) return;
    const fresh = parse(event.detail.serverResponse);
    if (!fresh) return;
    event.detail.shouldSwap = false;
    const sent = requestConfig.elt?.closest?.("form");
    if (sent && requestConfig.verb !== "get") delete sent.dataset.typed; // what was sent is not kept again
    replace(target, fresh);
    arrived(fresh);
    document.dispatchEvent(new CustomEvent("nyx:swapped", { detail: { root: fresh } }));
  });
}

function parse(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content.firstElementChild;
}

function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? place(document.activeElement) : null;
  keepFolds(old, fresh);
  keepParts(old, fresh);
  const lost = keepTyped(old, fresh);
  document.dispatchEvent(new CustomEvent("nyx:swapping", { detail: { old, fresh } })); // what else is to be carried over
  const scrolled = [...old.querySelectorAll(".drawing, .sent, .table-scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  old.replaceWith(fresh);
  [...fresh.querySelectorAll(".drawing, .sent, .table-scroll")].forEach((box, index) => {
    if (scrolled[index]) [box.scrollLeft, box.scrollTop] = scrolled[index];
  });
  window.htmx.process(fresh);
  if (lost.length) showLost(fresh, lost);
  if (focused) restore(fresh, focused);
}

function keepFolds(old, fresh) {
  for (const fold of old.querySelectorAll("details.fold[id][open]")) {
    const twin = fresh.querySelector(`#${CSS.escape(fold.id)}`);
    if (twin) twin.open = true;
  }
}

function keepParts(old, fresh) {
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const twin = old.querySelector(`[data-part="${CSS.escape(part.dataset.part)}"]`);
    if (twin && same(twin, part)) part.replaceWith(twin);
  }
}

/** A part that a person changes by opening and ticking says itself (data-stamp) what it was made from. */
function same(old, fresh) {
  const { stamp } = fresh.dataset;
  return stamp === undefined ? asMade(old) === asMade(fresh) : old.dataset.stamp === stamp;
}

/** The HTML without what scripts have changed since: ticking times and htmx's marks. */
function asMade(element) {
  const copy = element.cloneNode(true);
  for (const node of [copy, ...copy.querySelectorAll("*")]) {
    node.classList?.remove("htmx-request", "htmx-added", "htmx-settling", "htmx-swapping");
    if (node.getAttribute("class") === "") node.removeAttribute("class");
    if (node.matches("[data-since], time")) {
      node.textContent = "";
      node.removeAttribute("title");
      node.removeAttribute("data-local");
    }
    if (node.matches("input[name='csrfmiddlewaretoken']")) node.removeAttribute("value"); // masked anew each time
  }
  return copy.outerHTML;
}

/** Forms with typed text stay as they are; those that have no place any more are returned. */
function keepTyped(old, fresh) {
  const lost = [];
  for (const form of old.querySelectorAll("form[id][data-typed]")) {
    const twin = fresh.querySelector(`#${CSS.escape(form.id)}`);
    if (twin) twin.replaceWith(form);
    else lost.push(form);
  }
  return lost;
}

function showLost(fresh, forms) {
  const body = fresh.querySelector(".step-body") ?? fresh;
  for (const form of forms) {
    const note = document.createElement("div");
    note.className = "changed";
    const said = document.createElement("p");
    said.textContent = "This changed while you were writing, so your text was not sent. Here it is:";
    note.append(said);
    for (const area of form.querySelectorAll("textarea")) {
      const kept = document.createElement("textarea");
      kept.value = area.value;
      kept.readOnly = true;
      kept.rows = 6;
      note.append(kept);
    }
    body.prepend(note);
  }
}

/** How to find a focused element again among its successors. */
function place(element) {
  if (element.id) return { id: element.id };
  if (element.tagName === "SUMMARY") return { summaryOf: element.closest("[id]")?.id };
  return { same: element, words: element.textContent.trim(), tag: element.tagName };
}

function restore(fresh, { id, summaryOf, same, words, tag }) {
  let next = null;
  if (id) next = document.getElementById(id);
  else if (summaryOf) next = document.getElementById(summaryOf)?.querySelector("summary");
  else if (same.isConnected) next = same;
  else next = [...fresh.querySelectorAll(tag)].find((element) => element.textContent.trim() === words);
  (next ?? fresh.querySelector("summary"))?.focus({ preventScroll: true });
}
