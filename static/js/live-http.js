/** The server refused, and asking again will not help: signed out (401, a redirect to the login page) or no access. */
export class Refused extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind; // "signed-out" or "no-access"
  }
}

const PATIENCE = 15_000; // ms

/** GET a JSON address of ours. Throws Refused, or another error when asking again later makes sense. */
export async function getJson(url) {
  const response = await fetch(url, {
    headers: { Accept: "application/json" },
    credentials: "same-origin",
    cache: "no-store",
    redirect: "manual", // the login page is not an answer
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (response.type === "opaqueredirect" || response.status === 401) throw new Refused("signed-out");
  if (response.status === 403 || response.status === 404) throw new Refused("no-access");
  if (!response.ok) throw new Error(`${response.status} from ${url}`);
  return response.json();
}

/** A number around `ms`, so that many pages do not ask in the same moment. */
export function jitter(ms) {
  return ms * (0.75 + Math.random() / 2);
}
