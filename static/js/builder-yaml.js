/** Definition as YAML: a line number in the list of mistakes leads to the line; Tab stays a way out of the field. */
const area = document.getElementById("yaml");

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-line]");
  if (!link) return;
  event.preventDefault();
  const lines = area.value.split("\n");
  const line = Math.min(Number(link.dataset.line), lines.length);
  const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  area.focus();
  area.setSelectionRange(start, start + lines[line - 1].length);
  area.scrollTop = (area.scrollHeight / lines.length) * Math.max(0, line - 4);
});

const file = document.getElementById("file");
file?.addEventListener("change", async () => {
  const chosen = file.files[0];
  if (!chosen || chosen.size > 2_000_000) return; // the server says what is wrong with it
  const text = await chosen.text();
  if (text.includes("\u0000") || text.includes("\ufffd")) return;
  area.value = text;
  file.value = "";
  area.focus();
});
