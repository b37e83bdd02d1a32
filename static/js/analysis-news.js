/**
 * Findings that come while their list is being read. The list stays as it is; a bar says what it lacks and puts it
 * there when asked. Whatever a person has opened or typed stays, and so does the place on the screen.
 */
const list = () => document.querySelector(".tab.findings");
const isList = (element) => element.matches(".tab.findings");

/** The count beside the name of the tab, with what the strip of phases has just learnt. */
export function showCount(strip) {
  const count = document.getElementById("findings-count");
  const found = Number(strip.dataset.found);
  count.textContent = found.toLocaleString("en");
  count.hidden = !found;
}

/** An empty list has nobody reading it, so what comes is shown at once. */
export function newsArrived(news) {
  if (Number(news.dataset.came) && !list().querySelector("article.finding")) showNews();
}

async function showNews() {
  const tab = list();
  const held = inView()?.id;
  const top = () => (held ? document.getElementById(held)?.getBoundingClientRect().top : undefined);
  const before = top();
  if (document.activeElement?.id === "show-news") document.getElementById("news").focus({ preventScroll: true }); // the button goes, the reader stays
  await window.htmx.ajax("GET", tab.dataset.src, { source: tab, target: tab, swap: "outerHTML" }).catch(() => {}); // app.js has said it
  const after = top();
  if (after !== undefined) window.scrollBy({ top: after - before, behavior: "instant" });
}

/** What is being read: the current finding where it is seen, else the first on the screen. */
function inView() {
  const seen = [...list().querySelectorAll("article.finding[id]")].filter((one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return bottom > 0 && top < window.innerHeight;
  });
  return seen.find((one) => one.classList.contains("current")) ?? seen[0];
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("#show-news") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  showNews();
});

document.addEventListener("nyx:swapping", ({ detail: { old, fresh } }) => {
  if (!isList(fresh)) return;
  const before = new Map([...old.querySelectorAll("article.finding[id]")].map((one) => [one.id, one]));
  for (const one of fresh.querySelectorAll("article.finding[id]")) {
    const known = before.get(one.id);
    if (!known) one.classList.add("came");
    else if (line(known) === line(one)) one.replaceWith(known);
    else if (known.querySelector("details").open) one.querySelector("details").open = true; // its body is loaded anew
  }
  for (const one of fresh.querySelectorAll("details.rules")) one.open = old.querySelector("details.rules")?.open ?? false;
});

const line = (finding) => finding.dataset.triage + finding.querySelector("summary").innerHTML;
