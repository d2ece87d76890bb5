/** How much of what the model can hold at once the chat and the draft take. */
import { byId } from "./dom.js";
import { contentOf } from "./attachments.js";
import { t } from "./strings.js";

/** Characters per token, for what no model has counted yet. */
const CHARS = 3.6;
/** From this share on the gauge asks for attention. */
const NEAR = 0.9;

/** @param {number} chars */
const guess = (chars) => Math.ceil(chars / CHARS);

/**
 * @param {import("./chat_store.js").Message[]} path
 * @param {string} system
 * @param {{text: string, files?: any[]}} draft
 * @returns {number} tokens, counted up to the last answer and guessed after it
 */
export function tokensOf(path, system, draft) {
  let sum = guess(system.length);
  for (const message of path) {
    const { stats, text } = message;
    if (stats?.prompt_tokens) sum = stats.prompt_tokens + (stats.tokens ?? guess(text.length));
    else sum += guess(contentOf(message).length) + 4;
  }
  return sum + guess(contentOf(draft).length);
}

/** @param {number} tokens @param {number|null} context null: no model says */
export function showGauge(tokens, context) {
  const node = byId("gauge");
  node.hidden = !context || !tokens;
  if (node.hidden) return;
  const share = tokens / context;
  const percent = Math.max(1, Math.round(share * 100));
  node.classList.toggle("near", share >= NEAR);
  node.style.setProperty("--share", String(Math.min(1, share)));
  const facts = { tokens, context };
  node.title = t(share > 1 ? "gaugeOver" : "gaugeFacts", facts);
  byId("gauge-text").textContent = t("gauge", { percent });
}
