/**
 * A text that grows -> its sentences, each as soon as it is whole, for a voice to begin with. Code
 * is not read out, and what is too long for a voice is cut at a comma or a space.
 */
const LONGEST = 300; // characters: about 20 seconds of speech
const FENCE = /(^|\n)[ \t]*(```|~~~)/g;
const END = /([.!?…]+["'”’»)\]]*(?=\s)|[。！？]["'”’»)\]]*|\n\s*\n|\n(?=\s*([-*+#>]|\d+[.)])\s))/g;
// A point after these does not end a sentence.
const SHORT = /(?:^|[\s("'])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|z\.B|d\.h|bzw|usw|ca|No|Nr|M|Mme|p|pp)\.$/;

export class Sentences {
  #text = ""; #done = 0;

  /** @param {string} text all that there is so far @returns {string[]} sentences that are whole now */
  grow(text) {
    if (!text.startsWith(this.#text.slice(0, this.#done))) this.#done = 0; // another text
    this.#text = text;
    return this.#cut(false);
  }

  /** The text is whole. @returns {string[]} the rest of its sentences */
  end() {
    return this.#cut(true);
  }

  #cut(ended) {
    const found = [];
    for (;;) {
      const rest = this.#text.slice(this.#done);
      const fence = this.#fence(rest, ended);
      if (fence === null) break; // inside code that is not closed yet
      if (fence > 0) {
        this.#done += fence;
        continue;
      }
      const code = rest.search(FENCE);
      const prose = code > 0 ? rest.slice(0, code) : rest;
      const end = endOf(prose) || (ended || code > 0 ? prose.length : overlong(prose));
      if (!end) break;
      this.#done += end;
      found.push(...pieces(plain(prose.slice(0, end))));
    }
    return found;
  }

  /** Characters of a code block that `rest` begins with; 0 for none, null where it goes on. */
  #fence(rest, ended) {
    const open = /^\s*(```|~~~)/.exec(rest);
    if (!open) return 0;
    const close = rest.indexOf(`\n${open[1]}`, open[0].length);
    if (close >= 0) return close + 1 + open[1].length;
    return ended ? rest.length : null;
  }
}

/** Where the first sentence of `text` ends; 0 while it may go on. */
function endOf(text) {
  for (const match of text.matchAll(END)) {
    const end = match.index + match[0].length;
    const before = text.slice(0, end);
    if (match[0] === "." && (SHORT.test(before) || /(^|\n)\s*\d+\.$/.test(before))) continue;
    if (before.trim()) return end;
  }
  return 0;
}

const overlong = (text) => (text.length > 2 * LONGEST ? cutAt(text) : 0);

/** Where to cut what is too long: behind the last comma, else the last space, else hard. */
function cutAt(text) {
  const head = text.slice(0, LONGEST);
  for (const pattern of [/[,;:–—][^,;:–—]*$/, /\s\S*$/]) {
    const at = head.search(pattern);
    if (at > LONGEST / 3) return at + 1;
  }
  // Never through a pair that makes one sign.
  return /[\uD800-\uDBFF]$/.test(head) ? LONGEST - 1 : LONGEST;
}

function pieces(text) {
  const found = [];
  while (text.length > LONGEST) {
    const at = cutAt(text);
    found.push(text.slice(0, at).trim());
    text = text.slice(at);
  }
  return [...found, text.trim()].filter((piece) => /[\p{L}\p{N}]/u.test(piece));
}

/** Markdown without its signs, addresses by their host, no pictures of any sort. */
function plain(markdown) {
  return markdown
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/https?:\/\/([^\s/)]+)\S*/g, "$1")
    .replace(/^\s*(#{1,6}|[-*+>]|\d+[.)])\s+/gm, "")
    .replace(/\|/g, ", ")
    .replace(/[*_`~#]+/g, "")
    .replace(/[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u{FE0F}\u{200D}]/gu, "")
    .replace(/\s+/g, " ")
    .trim();
}
