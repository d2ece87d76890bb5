/**
 * The token for private repositories of the hub. It stays in this browser, goes to the hub's origin
 * only, and is in no log, no message of an error and no stored manifest.
 */
const KEY = "jird.hub_token";

/** The token, or undefined. */
export function readToken() {
  try {
    return globalThis.localStorage?.getItem(KEY) || undefined;
  } catch {
    return undefined; // a browser may forbid storage
  }
}

/** Keeps `token`; an empty one is forgotten. Answers whether this browser keeps it. */
export function saveToken(token) {
  try {
    if (token) localStorage.setItem(KEY, token.trim());
    else localStorage.removeItem(KEY);
    return true;
  } catch {
    return false;
  }
}
