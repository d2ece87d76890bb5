/**
 * Tells a page that its person left (a reload, a closed tab, another app in front) from one that the browser ended while it
 * was in use. A mark that a load left behind (app/tuning.py) accuses that load only in the second case.
 */
const KEY = "jird.left";

/** What the name of an engine's worker ends in where the page before it was left. */
export const LEFT = ":left";

function keep(left) {
  try {
    if (left) localStorage.setItem(KEY, "1");
    else localStorage.removeItem(KEY);
  } catch {
    // a browser that keeps nothing keeps no mark either
  }
}

/** From now on the end of this page is noted while `loading()`. A frozen page that comes back was not left. */
export function watchEnd(loading) {
  if (typeof document === "undefined") return;
  addEventListener("pagehide", () => loading() && keep(true));
  addEventListener("pageshow", ({ persisted }) => persisted && keep(false));
  document.addEventListener("visibilitychange", () => {
    if (loading()) keep(document.hidden);
  });
}

/** A load begins: what is noted is of this one. */
export function noteLoading() {
  keep(globalThis.document?.hidden ?? false);
}

/** A load was ended on purpose. */
export function noteLeft() {
  keep(true);
}

/** Whether the page that loaded last was left; asked once. */
export function takeLeft() {
  try {
    return localStorage.getItem(KEY) !== null;
  } catch {
    return false;
  } finally {
    keep(false);
  }
}
