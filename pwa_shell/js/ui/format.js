/**
 * Numbers as people read them. Bytes are decimal (98 MB), as in the model's own name for its size.
 */

/** @param {number} bytes @returns {string} e.g. "98 MB", "1.4 GB" */
export function formatBytes(bytes) {
  if (bytes < 1e3) return `${Math.round(bytes)} B`;
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`;
  if (bytes < 1e9) return `${bytes < 1e7 ? (bytes / 1e6).toFixed(1) : Math.round(bytes / 1e6)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** @param {number} seconds @returns {string} e.g. "0.42 s", "8.1 s", "2 min" */
export function formatSeconds(seconds) {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/**
 * @param {number} seconds
 * @returns {string} a coarse remaining time, so that it does not flicker
 */
export function formatEta(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 1.5) return "1 s left";
  if (seconds < 60) return `${Math.round(seconds)} s left`;
  return `${Math.round(seconds / 60)} min left`;
}

/** @param {number} rate tokens per second @returns {string} */
export function formatRate(rate) {
  return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tok/s`;
}

/**
 * The heading under which a chat of this time is listed.
 * @param {number} time ms since the epoch
 * @param {number} [now]
 * @returns {string}
 */
export function formatDay(time, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - time) / 864e5);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days <= 7 ? "Last 7 days" : "Older";
}
