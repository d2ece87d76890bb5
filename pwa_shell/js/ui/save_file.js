/** Files out of the page: into the downloads, or to another app by the system's own sheet. */
import { h } from "./dom.js";

/** How long a download may take to begin. */
const HELD_MS = 60_000;

/** @param {string} name @param {BlobPart[]} parts @param {string} type */
export function saveFile(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type: `${type};charset=utf-8` }));
  const link = h("a", { href: url, download: name, class: "offscreen" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), HELD_MS);
}

/** @returns {boolean} whether this browser hands texts to other apps */
export function canShare() {
  return typeof navigator.share === "function";
}

/**
 * @param {string} title
 * @param {string} text
 * @param {string} name of the file, where files can be handed over
 * @returns {Promise<boolean>} false when it could not be shared; a person's own no counts as done
 */
export async function shareText(title, text, name) {
  const file = new File([text], name, { type: "text/markdown" });
  const whole = { title, files: [file] };
  try {
    await navigator.share(navigator.canShare?.(whole) ? whole : { title, text });
    return true;
  } catch (error) {
    return error?.name === "AbortError";
  }
}
