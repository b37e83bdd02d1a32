/** Calls `action` once things have been quiet for `wait` milliseconds, with the newest arguments. */
export function debounced<Args extends unknown[]>(
  action: (...args: Args) => void,
  wait: number,
): { call: (...args: Args) => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    call: (...args) => {
      clearTimeout(timer);
      timer = setTimeout(() => action(...args), wait);
    },
    cancel: () => clearTimeout(timer),
  };
}

/** Text that can stand in HTML. */
export function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
