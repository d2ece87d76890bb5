/**
 * Tells screen readers about an answer in whole sentences: a live region that changes with each
 * token is unusable.
 */
import { byId, h } from "./dom.js";
import { spokenMath } from "./math_syntax.js";
import { t } from "./strings.js";

const KEPT = 4;
const SENTENCE_END = /[.!?…。！？]["')\]]*\s|\n\n/g;

/** @param {string} markdown @returns {string} what is worth reading out */
export function speakable(markdown) {
  return spokenMath(markdown, t("formula"))
    .replace(/(```|~~~)[^\n]*\n[\s\S]*?(\1|$)/g, ` ${t("codeBlock")} `)
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*(#{1,6}|[-*+>]|\d+[.)])\s+/gm, "")
    .replace(/[*_`~|]+/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

export class Announcer {
  #said = 0;

  constructor() {
    this.root = byId("announce");
  }

  /** A new answer begins. */
  begin() {
    this.#said = 0;
  }

  /** @param {string} text the answer so far @param {boolean} [ended] */
  progress(text, ended = false) {
    const fresh = text.slice(this.#said);
    // A sentence never ends inside a code block, finished or not.
    const prose = fresh.replace(/(```|~~~)[\s\S]*?(\1|$)/g, (code) => "x".repeat(code.length));
    let end = ended ? fresh.length : 0;
    for (const match of prose.matchAll(SENTENCE_END))
      end = Math.max(end, match.index + match[0].length);
    if (!end) return;
    this.#said += end;
    this.say(speakable(fresh.slice(0, end)));
  }

  /** @param {string} text */
  say(text) {
    if (!text) return;
    this.root.append(h("p", { text }));
    while (this.root.children.length > KEPT) this.root.firstElementChild?.remove();
  }
}
