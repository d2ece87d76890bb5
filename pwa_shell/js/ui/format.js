/**
 * Numbers as people read them. Bytes are decimal (98 MB), as in the model's own name for its size.
 */
import { number, t } from "./strings.js";

/** @param {number} bytes @returns {string} e.g. "98 MB", "1.4 GB" */
export function formatBytes(bytes) {
  if (bytes < 1e3) return t("unitB", { value: number(bytes, 0) });
  if (bytes < 1e6) return t("unitKB", { value: number(bytes / 1e3, 0) });
  if (bytes < 1e9) return t("unitMB", { value: number(bytes / 1e6, bytes < 1e7 ? 1 : 0) });
  return t("unitGB", { value: number(bytes / 1e9, 1) });
}

/** @param {number} seconds @returns {string} e.g. "0.42 s", "8.1 s", "2 min" */
export function formatSeconds(seconds) {
  if (seconds < 60) return t("unitS", { value: number(seconds, seconds < 1 ? 2 : 1) });
  const whole = Math.round(seconds);
  return t("unitMin", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
}

/**
 * @param {number} seconds
 * @returns {string} a coarse remaining time, so that it does not flicker
 */
export function formatEta(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return t("leftS", { value: Math.max(1, Math.round(seconds)) });
  return t("leftMin", { value: Math.round(seconds / 60) });
}

/** @param {number} rate tokens per second @returns {string} */
export function formatRate(rate) {
  return t("tokensPerSecond", { value: number(rate, rate < 10 ? 1 : 0) });
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
  if (days <= 0) return t("today");
  if (days === 1) return t("yesterday");
  return t(days <= 7 ? "lastWeek" : "older");
}
