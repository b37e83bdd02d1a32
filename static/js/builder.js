/**
 * The builder's rows: add, remove, move (buttons, Alt and arrows, dragging), names that follow, mistakes beside their
 * fields. The order of the rows in the page is the order in which the form sends them; the server judges everything.
 */
import { keepDraft } from "./builder-draft.js";

const form = document.getElementById("builder");
const LEGENDS = { step: "title", input: "label" };
const NAMES = { step: "key", input: "name" };
const old = new WeakMap(); // field of a name -> the name before it was changed

const rows = (group) => [...form.querySelectorAll(`[data-rows="${group}"] > .b-row`)];
const rowOf = (element) => element?.closest?.(".b-row");
const fieldOf = (row, name) => row.querySelector(`[name="${row.dataset.group}-${row.dataset.row}-${name}"]`);
const nameOf = (row) => fieldOf(row, NAMES[row.dataset.group])?.value ?? "";
const titleOf = (row) => fieldOf(row, LEGENDS[row.dataset.group])?.value || nameOf(row) || "without a name";
const changed = () => form.dispatchEvent(new CustomEvent("builder:changed"));

function say(sentence, where = "builder-said") {
  const said = document.getElementById(where);
  if (said.textContent !== sentence) said.textContent = sentence;
}

// --- rows -----------------------------------------------------------------------------------------------------------

/** Numbers, headings, the lists of keys and names: whatever follows from the rows as they stand. */
function refresh() {
  for (const group of ["input", "step"]) {
    for (const [index, row] of rows(group).entries()) {
      row.querySelector("[data-place]").textContent = index + 1;
      for (const legend of row.querySelectorAll("[data-legend]")) legend.textContent = titleOf(row);
      row.querySelector(".grip").hidden = false;
    }
  }
  const keys = document.getElementById("step-keys");
  keys.replaceChildren(...rows("step").map((row) => new Option(titleOf(row), nameOf(row))));
  for (const row of rows("step")) {
    showNeeds(row);
    showNames(row);
  }
}

function copyOf(id, number) {
  const holder = document.createElement("template");
  holder.innerHTML = document
    .getElementById(id)
    .innerHTML.replace(/\b(step|input|preview)([-:])0\b/g, `$1$2${number}`)
    .replace(/(name="(?:step|input)" value|data-row)="0"/g, `$1="${number}"`);
  return holder.content.firstElementChild;
}

function freeName(group, stem) {
  const taken = new Set(rows(group).map(nameOf));
  let number = rows(group).length + 1;
  while (taken.has(`${stem}_${number}`)) number += 1;
  return `${stem}_${number}`;
}

function add(group, kind) {
  const present = rows(group);
  const number = 1 + Math.max(0, ...present.map((row) => Number(row.dataset.row)));
  const name = freeName(group, group);
  const row = copyOf(group === "step" ? `blank-step-${kind}` : "blank-input", number);
  form.querySelector(`[data-rows="${group}"]`).append(row);
  fieldOf(row, NAMES[group]).value = name;
  if (group === "step") fieldOf(row, "title").value = name.replace("step_", "Step ");
  const prompt = fieldOf(row, "llm-prompt");
  if (prompt && present.length) prompt.value = `{{ steps.${nameOf(present.at(-1))}.content }}\n\n`;
  window.htmx.process(row);
  remember(row);
  refresh();
  const first = fieldOf(row, LEGENDS[group]);
  first.focus();
  first.select();
  say(`Added ${titleOf(row)}, ${rows(group).length} of ${rows(group).length}.`);
  changed();
}

function remove(row) {
  const group = row.dataset.group;
  const title = titleOf(row);
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  refresh();
  (next ?? form.querySelector(`[data-add="${group}"]`)).focus();
  say(`Removed ${title}; ${rows(group).length} left.`);
  changed();
}

/** Put a row before another one (null: at the end); the focus stays where it was. */
function place(row, before) {
  const focused = row.contains(document.activeElement) ? document.activeElement : null;
  row.parentElement.insertBefore(row, before);
  refresh();
  focused?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  const all = rows(row.dataset.group);
  say(`${titleOf(row)} is now ${all.indexOf(row) + 1} of ${all.length}.`);
  changed();
}

function move(row, up) {
  const next = up ? row.previousElementSibling : row.nextElementSibling;
  if (!next) return say(`${titleOf(row)} is ${up ? "first" : "last"} already.`);
  return place(row, up ? next : next.nextElementSibling);
}

// --- dragging -------------------------------------------------------------------------------------------------------

let dragged = null;

function listenToDrags() {
  form.addEventListener("dragstart", (event) => {
    if (!event.target.classList?.contains("grip")) return;
    dragged = rowOf(event.target);
    dragged.classList.add("dragged");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", titleOf(dragged));
    event.dataTransfer.setDragImage(dragged, 20, 20);
  });
  form.addEventListener("dragover", (event) => {
    const list = dragged?.parentElement;
    if (!list || !list.contains(event.target)) return;
    event.preventDefault();
    const over = rowOf(event.target);
    if (!over || over === dragged) return;
    const { top, height } = over.getBoundingClientRect();
    const before = event.clientY < top + height / 2 ? over : over.nextElementSibling;
    if (before !== dragged && before !== dragged.nextElementSibling) list.insertBefore(dragged, before);
  });
  form.addEventListener("drop", (event) => dragged && event.preventDefault());
  form.addEventListener("dragend", () => {
    if (!dragged) return;
    dragged.classList.remove("dragged");
    place(dragged, dragged.nextElementSibling);
    dragged = null;
  });
}

// --- names ----------------------------------------------------------------------------------------------------------

const remember = (row) => old.set(fieldOf(row, NAMES[row.dataset.group]), nameOf(row));
const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** A key or the name of an input was changed: prompts and needs that call it follow. */
function follow(row) {
  const field = fieldOf(row, NAMES[row.dataset.group]);
  const [was, now] = [old.get(field), field.value];
  remember(row);
  if (!was || !now || was === now || !/^[a-z][a-z0-9_]*$/.test(now)) return;
  if (rows(row.dataset.group).some((other) => other !== row && nameOf(other) === was)) return;
  const root = row.dataset.group === "step" ? "steps" : "input";
  const called = new RegExp(`\\b${root}\\.${literal(was)}\\b(?!_)`, "g");
  const word = new RegExp(`(^|[\\s,])${literal(was)}(?=$|[\\s,])`, "g");
  let count = 0;
  const put = (area, text) => {
    if (text === area.value) return;
    area.value = text;
    count += 1;
  };
  for (const other of rows("step")) {
    for (const area of other.querySelectorAll("textarea.code")) put(area, area.value.replace(called, `${root}.${now}`));
    if (root === "input") continue;
    const lists = [fieldOf(other, "needs"), ...other.querySelectorAll('[list="step-keys"]')];
    for (const list of lists) put(list, list.value.replace(word, `$1${now}`));
  }
  if (count) say(`${was} is called ${now} now, in ${count} other field${count > 1 ? "s" : ""} too.`);
}

function pick(text, pressed) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pick";
  button.textContent = text;
  if (pressed !== undefined) button.ariaPressed = String(pressed);
  return button;
}

/** Only what is different is made anew: a button must not vanish between the press and the release of the mouse. */
function showPicks(box, buttons) {
  const look = (all) => all.map((each) => `${each.textContent} ${each.ariaPressed}`).join("\n");
  if (look(buttons) !== look([...box.children])) box.replaceChildren(...buttons);
}

const listed = (row) => fieldOf(row, "needs").value.split(/[\s,]+/).filter(Boolean);
const before = (row) => rows("step").slice(0, rows("step").indexOf(row));

/** Chosen steps: a button for each step that stands before. */
function showNeeds(row) {
  const chosen = fieldOf(row, "after").value === "chosen";
  const picks = row.querySelector("[data-picks]");
  row.querySelector(".field.needs").hidden = !chosen;
  picks.hidden = !chosen;
  if (!chosen) return;
  const needs = listed(row);
  showPicks(picks, before(row).map((other) => pick(nameOf(other), needs.includes(nameOf(other)))));
}

function toggleNeed(row, button) {
  const needs = listed(row);
  const key = button.textContent;
  fieldOf(row, "needs").value = (needs.includes(key) ? needs.filter((need) => need !== key) : [...needs, key]).join(", ");
  button.ariaPressed = String(!needs.includes(key));
  changed();
}

/** What the prompt can name: every input, and the outputs of the steps that this one stands on. */
function showNames(row) {
  const names = rows("input").map((input) => `input.${nameOf(input)}`);
  const stands = new Set();
  const walk = (step) => {
    const after = fieldOf(step, "after").value;
    const last = before(step).at(-1);
    const needs = after === "chosen" ? listed(step) : after === "before" && last ? [nameOf(last)] : [];
    for (const other of before(step)) {
      if (!needs.includes(nameOf(other)) || stands.has(other)) continue;
      stands.add(other);
      walk(other);
    }
  };
  walk(row);
  for (const step of before(row)) if (stands.has(step)) names.push(`steps.${nameOf(step)}.content`);
  for (const box of row.querySelectorAll("[data-names]")) {
    box.hidden = !names.length;
    showPicks(box, names.map((name) => pick(name)));
  }
}

function insertName(row, name) {
  const areas = [...row.querySelectorAll(".b-options:not([hidden]) textarea.code")];
  const area = areas.find((each) => each === row.lastArea) ?? areas[0];
  if (!area) return;
  area.setRangeText(`{{ ${name} }}`, area.selectionStart, area.selectionEnd, "end");
  area.focus();
  changed();
}

// --- kinds ----------------------------------------------------------------------------------------------------------

/** Show the options of the chosen kind. What was typed for another one stays in the page, and so in the draft. */
function showKind(row) {
  const kind = fieldOf(row, "kind").value;
  const present = [...row.querySelectorAll(":scope > fieldset > .b-options")];
  if (!present.some((box) => box.dataset.kind === kind)) {
    const blank = copyOf(`blank-step-${kind}`, row.dataset.row)?.querySelector(".b-options");
    if (!blank) return;
    present.at(-1).after(blank);
    present.push(blank);
  }
  for (const box of present) box.hidden = box.dataset.kind !== kind;
  showNames(row);
}

// --- mistakes -------------------------------------------------------------------------------------------------------

/** Put what the server found beside the fields. */
function showProblems() {
  const found = new Map();
  for (const link of document.querySelectorAll("#checked [data-for]")) {
    const at = link.dataset.at?.split(":");
    const message = link.querySelector("span").textContent;
    const whole = at ? `Line ${at[0]}, column ${at[1]}: ${message}` : message;
    found.set(link.dataset.for, [...(found.get(link.dataset.for) ?? []), whole]);
  }
  for (const field of form.querySelectorAll(".field[data-field]")) {
    const messages = found.get(field.dataset.field) ?? [];
    const error = field.querySelector(".error");
    field.classList.toggle("wrong", messages.length > 0);
    error.hidden = !messages.length;
    if (error.textContent !== messages.join(" ")) error.textContent = messages.join(" ");
    const control = field.querySelector("input, select, textarea");
    if (messages.length) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
  say(document.getElementById("verdict")?.textContent.trim() ?? "", "builder-verdict");
}

/** Go to a field, open what hides it, and set the cursor to the place inside its text. */
function visit(name, at) {
  const control = form.querySelector(`[name="${CSS.escape(name)}"]`);
  if (!control) return;
  for (let fold = control.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  const [line, column] = (at ?? "").split(":").map(Number);
  if (line && control.setSelectionRange) {
    const start = control.value.split("\n").slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
    control.setSelectionRange(start, start);
  }
  control.focus();
}

// --- start ----------------------------------------------------------------------------------------------------------

function act(event) {
  const button = event.target.closest("button, a");
  if (!button || !form.contains(button)) return;
  const row = rowOf(button);
  if (button.dataset.add) add(button.dataset.add, button.dataset.kind);
  else if (button.dataset.act === "remove") remove(row);
  else if (button.dataset.act) move(row, button.dataset.act === "up");
  else if (button.classList.contains("pick")) {
    if (button.closest("[data-picks]")) toggleNeed(row, button);
    else insertName(row, button.textContent);
  } else if (button.matches(".b-problems a")) visit(button.hash.slice(1), button.dataset.at);
  else if (button.matches(".checked .node")) document.getElementById(button.getAttribute("href").slice(1))?.focus();
  else return;
  event.preventDefault();
}

function listen() {
  form.addEventListener("click", act);
  form.addEventListener("focusin", (event) => {
    if (event.target.matches("textarea.code")) rowOf(event.target).lastArea = event.target;
  });
  form.addEventListener("change", (event) => {
    const row = rowOf(event.target);
    if (!row) return;
    const own = event.target.name.split("-").slice(2).join("-");
    if (own === NAMES[row.dataset.group]) follow(row);
    if (own === "kind" && row.dataset.group === "step") showKind(row);
    refresh();
    changed();
  });
  form.addEventListener("input", (event) => {
    const row = rowOf(event.target);
    if (row && event.target === fieldOf(row, LEGENDS[row.dataset.group])) {
      for (const legend of row.querySelectorAll("[data-legend]")) legend.textContent = titleOf(row);
    }
  });
  form.addEventListener("keydown", (event) => {
    const row = rowOf(event.target);
    if (!row || !event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    move(row, event.key === "ArrowUp");
  });
  document.body.addEventListener("htmx:afterSwap", (event) => event.target.id === "checked" && showProblems());
}

function start() {
  for (const group of ["input", "step"]) rows(group).forEach(remember);
  refresh();
  keepDraft(form, () => {
    for (const group of ["input", "step"]) rows(group).forEach(remember);
    refresh();
    changed();
  });
}

if (form) {
  listen();
  listenToDrags();
  start();
}
