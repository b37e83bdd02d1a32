/** A notice on the desktop when the run ends or stands still; only after it was asked for, and kept for all runs. */
const KEY = "nyx.notify";
const OPEN = new Set(["pending", "running"]);
let last = null;

const button = () => document.getElementById("notify");
const wanted = () => {
  try {
    return localStorage.getItem(KEY) === "1";
  } catch {
    return false; // storage is forbidden here
  }
};
const granted = () => Notification.permission === "granted";

function keep(on) {
  try {
    localStorage.setItem(KEY, on ? "1" : "0");
  } catch (error) {
    console.warn("The choice cannot be kept:", error);
  }
}

/** Show the button where it makes sense: while the run is open, in browsers that can. */
function show(status) {
  if (!button() || !("Notification" in window)) return;
  button().hidden = !OPEN.has(status) || Notification.permission === "denied";
  button().ariaPressed = String(wanted() && granted());
}

/** The run has this status now. */
export function sawStatus(status, title) {
  const before = last;
  last = status;
  show(status);
  if (before === null || !OPEN.has(before) || OPEN.has(status)) return;
  if (!("Notification" in window) || !wanted() || !granted() || (!document.hidden && document.hasFocus())) return;
  try {
    const notice = new Notification(title, { tag: location.pathname, icon: document.getElementById("favicon")?.href });
    notice.onclick = () => {
      window.focus();
      notice.close();
    };
  } catch (error) {
    console.warn("No notice:", error); // some phones allow it to service workers only
  }
}

document.addEventListener("click", async (event) => {
  if (!event.target.closest("#notify")) return;
  const on = !(wanted() && granted());
  keep(on && (granted() || (await Notification.requestPermission()) === "granted"));
  show(last);
});
