/** Search over the full text of all chats. Case and accents make no difference. */

/** Characters around a match in its excerpt. */
const AROUND = 40;

/** @param {string} text @returns {string} what two spellings of a word have in common */
export function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}+/gu, "").toLowerCase();
}

/** @param {string} text @param {string[]} words folded @returns {string} the place of the first */
function excerpt(text, words) {
  const plain = text.replace(/\s+/g, " ");
  const at = Math.max(0, folded(plain).indexOf(words[0]));
  const from = Math.max(0, at - AROUND);
  const cut = plain.slice(from, at + words[0].length + 2 * AROUND);
  return (from ? "…" : "") + cut + (from + cut.length < plain.length ? "…" : "");
}

/**
 * Look for messages in which all words occur.
 * @param {import("./chat_store.js").ChatStore} store
 * @param {string} query
 * @param {(found: Map<string, string>) => void} found excerpt by chat id, called as it grows
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export async function searchChats(store, query, found, signal) {
  const words = folded(query).split(/\s+/).filter(Boolean);
  const excerpts = new Map();
  if (!words.length) return;
  for await (const messages of store.everyMessage()) {
    if (signal.aborted) return;
    for (const { chat, text } of messages) {
      if (excerpts.has(chat)) continue;
      const plain = folded(text);
      if (words.every((word) => plain.includes(word))) excerpts.set(chat, excerpt(text, words));
    }
    found(excerpts);
    await new Promise((resolve) => setTimeout(resolve)); // keys and frames come first
  }
}
