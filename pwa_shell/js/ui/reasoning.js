/**
 * What a model thought before it answered. Most write `<think>…</think>`; with some templates the
 * opening tag is part of the prompt, so that the text begins with the thought itself.
 */

const OPEN = /^\s*<think>\n?/;
const CLOSE = "</think>";

/** @param {string} text @param {string} tag @returns {number} how much of `tag` ends `text` */
function partial(text, tag) {
  for (let n = Math.min(tag.length - 1, text.length); n > 0; n--) {
    if (text.endsWith(tag.slice(0, n))) return n;
  }
  return 0;
}

/**
 * @param {string} text an answer as the model wrote it, maybe unfinished
 * @returns {{thought: string|null, answer: string, open: boolean}} `thought` is null where there is
 *   none; `open`: it goes on
 */
export function splitThought(text) {
  const end = text.indexOf(CLOSE);
  const begin = text.match(OPEN)?.[0].length ?? 0;
  const opened = begin > 0 && (end < 0 || end >= begin);
  if (end >= 0 && (opened || !text.slice(0, end).includes("```"))) {
    const thought = text.slice(opened ? begin : 0, end).trim();
    const answer = text.slice(end + CLOSE.length).trimStart();
    return { thought: thought || null, answer, open: false };
  }
  if (opened) {
    const thought = text.slice(begin, text.length - partial(text, CLOSE));
    return { thought: thought.trimEnd(), answer: "", open: true };
  }
  // The tag itself may still be on its way.
  const half = text.trimStart();
  if (half && "<think>".startsWith(half)) return { thought: null, answer: "", open: false };
  return { thought: null, answer: text, open: false };
}
