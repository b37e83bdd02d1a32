/**
 * Keeps the draft of the builder over a reload, in this tab only: the fields as the form would send them. The server
 * makes a page of them again, exactly as after a refused save.
 */
const PREFIX = "builder:";
const SENT = `${PREFIX}sent`;

const here = () => `${PREFIX}${location.pathname}${location.search}`;

function store(key, text) {
  try {
    sessionStorage.setItem(key, text);
  } catch (error) {
    console.warn("The draft is not kept over a reload:", error.name); // full, or forbidden by the reader
  }
}

function fields(form) {
  const data = new FormData(form);
  data.delete("csrfmiddlewaretoken");
  return new URLSearchParams(data).toString();
}

const cookie = (name) => document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);

/** The rows that the server makes of kept fields, put into the form that is there. */
async function bringBack(form, kept, done) {
  const token = cookie("csrftoken") ?? form.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(form.action, {
    method: "POST", body: new URLSearchParams(kept), headers: { "X-CSRFToken": token }, credentials: "same-origin",
  });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("#builder .b-split");
  if (!fresh) return;
  form.querySelector(".b-split").replaceWith(document.adoptNode(fresh));
  window.htmx.process(form);
  document.getElementById("restored").hidden = false;
  done();
}

/** Restore what was typed before a reload, then keep what is typed from now on. */
export function keepDraft(form, done) {
  const key = here();
  const posted = Boolean(form.dataset.posted);
  const sent = sessionStorage.getItem(SENT);
  sessionStorage.removeItem(SENT);
  if (sent && !posted) sessionStorage.removeItem(sent); // it was saved: this page is what came of it
  const kept = sessionStorage.getItem(key);
  const fresh = fields(form);
  if (kept && !posted && kept !== fresh) bringBack(form, kept, done);
  let timer = 0;
  let typed = false;
  const keep = () => {
    clearTimeout(timer);
    if (typed) store(key, fields(form));
    typed = false;
  };
  const later = () => {
    typed = true;
    clearTimeout(timer);
    timer = setTimeout(keep, 300);
  };
  form.addEventListener("input", later);
  form.addEventListener("builder:changed", later);
  addEventListener("pagehide", keep);
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value === "save") store(SENT, key);
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-forget]")) return;
    typed = false;
    clearTimeout(timer);
    sessionStorage.removeItem(key);
    location.reload();
  });
}
