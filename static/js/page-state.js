/** Title and favicon carry the state of the run that the page shows, so that a row of tabs tells the states. */
import { sawStatus } from "./page-notice.js";

export function showRun() {
  const run = document.getElementById("run");
  if (!run) return;
  document.title = run.dataset.title;
  const icon = document.getElementById("favicon");
  const href = `${icon.dataset.base}${run.dataset.status}.svg`;
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  sawStatus(run.dataset.status, run.dataset.title);
}
