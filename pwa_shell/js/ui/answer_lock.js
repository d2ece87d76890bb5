/**
 * Which unfinished answers are being written right now, by any tab: each holds a Web Lock. Without
 * one, what a tab left behind when it was closed or reloaded looks the same as an answer under way.
 */

const PREFIX = "jird-answer:";

/** @param {string} id message @param {Promise<void>} ended */
export function holdAnswer(id, ended) {
  navigator.locks?.request(PREFIX + id, () => ended).catch(() => {});
}

/** @param {string} id message @param {number} ms @returns {Promise<boolean>} whether nobody writes it any more */
export async function answerEnded(id, ms) {
  const signal = AbortSignal.timeout(ms);
  return navigator.locks.request(PREFIX + id, { signal }, () => true).catch(() => false);
}

/** @returns {Promise<Set<string>>} ids of the messages that some tab is writing */
export async function answersUnderWay() {
  const { held = [] } = (await navigator.locks?.query().catch(() => null)) ?? {};
  return new Set(
    held.filter(({ name }) => name.startsWith(PREFIX)).map(({ name }) => name.slice(PREFIX.length)),
  );
}
