/**
 * What went wrong here, for a report: codes and measures only. Messages are left out, as they may
 * quote what a person wrote, a file's name or an address.
 */
const KEY = "jird.errors";
const MOST = 40;
/** Facts that are the device's own. */
const TOLD = ["reason", "what", "needed", "available", "seconds", "field", "model_type"];
const MAX_CHARS = 160;

/** @typedef {{time: number, where: "load"|"answer"|"models", code: string, facts: Record<string, string|number>}} Row */

/** @returns {Row[]} newest first */
export function errorRows() {
  try {
    const rows = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(rows) ? rows.filter((row) => typeof row?.code === "string") : [];
  } catch {
    return [];
  }
}

/** @param {Row["where"]} where @param {import("./problem.js").Problem} problem */
export function noteError(where, { code, facts = {} }) {
  const kept = Object.entries(facts).filter(([name, value]) =>
    TOLD.includes(name) && ["string", "number"].includes(typeof value));
  const short = kept.map(([name, value]) =>
    [name, typeof value === "string" ? value.slice(0, MAX_CHARS) : value]);
  const row = { time: Date.now(), where, code, facts: Object.fromEntries(short) };
  try {
    localStorage.setItem(KEY, JSON.stringify([row, ...errorRows()].slice(0, MOST)));
  } catch {
    // Without storage there is no log.
  }
}

export function clearErrors() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Then nothing was kept.
  }
}
