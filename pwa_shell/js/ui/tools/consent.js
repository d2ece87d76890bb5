/** What a person decided about a tool: once, always or never in a chat. */

/** @typedef {"once"|"always"|"refuse"|"never"} Decision */

/** Calls that wait for a person, in this tab. @type {Map<object, (decision: Decision) => void>} */
const waiting = new Map();

/** @param {object} call @returns {boolean} whether it waits here for a decision */
export const waits = (call) => waiting.has(call);

/** @param {object} call @param {Decision} decision */
export function decide(call, decision) {
  waiting.get(call)?.(decision);
}

/**
 * @param {object} call
 * @param {AbortSignal} signal
 * @returns {Promise<Decision>} rejects when the answer is stopped
 */
export function ask(call, signal) {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    waiting.set(call, resolve);
    signal.addEventListener("abort", abort, { once: true });
  }).finally(() => waiting.delete(call));
}

/**
 * @param {{consent?: Record<string, "always"|"never">}} chat
 * @param {{name: string, harmless?: boolean}} tool
 * @returns {"always"|"never"|"ask"}
 */
export function consentOf(chat, tool) {
  const kept = chat.consent ?? {};
  if (Object.hasOwn(kept, tool.name)) return kept[tool.name];
  return tool.harmless ? "always" : "ask";
}

/** @param {any} chat @param {string} name @param {"always"|"never"|null} value null: ask again */
export function keepConsent(chat, name, value) {
  const { [name]: _, ...rest } = chat.consent ?? {};
  chat.consent = value ? { ...rest, [name]: value } : rest;
}
