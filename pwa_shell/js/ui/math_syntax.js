/**
 * Formulas in markdown: `$...$` and `\(...\)` in a line, `$$...$$` and `\[...\]` displayed. A dollar
 * is money unless it stands before a sign and a later one after a sign and before no digit, as
 * Pandoc has it. A displayed formula holds no empty line, so one that is never closed ends there.
 */

/** @typedef {{type: "math", raw: string, text: string, display: boolean, open?: boolean}} Math */

const INLINE = [
  [/^\$\$((?:[^$\\`]|\\[^])+?)\$\$/, true],
  [/^\$(?![\s$])((?:[^$\\`\n]|\\[^\n]|\n(?![ \t]*\n))+?)(?<![\s\\])\$(?!\d)/, false],
  [/^\\\[((?:[^\\]|\\[^\]])+?)\\\]/, true],
  [/^\\\(((?:[^\\]|\\[^)])+?)\\\)/, false],
];
const BEGINS = /\$|\\[[(]/;
const BLOCK_BEGINS = /(?:^|\n) {0,3}(?:\$\$|\\\[)/;
const BLOCK = /^ {0,3}(\$\$|\\\[)/;
const CLOSES = { $$: "$$", "\\[": "\\]" };
const EMPTY_LINE = /\n[ \t]*\n/g;

/** @param {string} src @returns {Math|undefined} a formula that this begins with */
function inline(src) {
  for (const [pattern, display] of INLINE) {
    const match = pattern.exec(src);
    if (match?.[1].trim()) return { type: "math", raw: match[0], text: match[1].trim(), display };
  }
}

/**
 * @param {string} src
 * @returns {Math|undefined} a displayed formula of its own lines; `open` while its end is missing
 */
function block(src) {
  const begin = BLOCK.exec(src);
  if (!begin) return;
  const from = begin[0].length;
  const end = src.indexOf(CLOSES[begin[1]], from);
  EMPTY_LINE.lastIndex = from;
  const empty = EMPTY_LINE.exec(src)?.index ?? Infinity;
  if (end < 0 || empty < end) {
    if (empty < Infinity) return;
    return { type: "math", raw: src, text: src.trimEnd(), display: true, open: true };
  }
  const rest = /^[ \t]*(?:\n+|$)/.exec(src.slice(end + 2));
  const text = src.slice(from, end).trim();
  if (rest && text) return { type: "math", raw: src.slice(0, end + 2) + rest[0], text, display: true };
}

/** An underlined heading ends before a formula's first line. @param {string} src */
function lheading(src) {
  const under = src.search(/\n {0,3}(?:=+|-+)[ \t]*(?:\n|$)/);
  const formula = src.search(BLOCK_BEGINS);
  return formula >= 0 && formula < under ? undefined : /** @type {const} */ (false);
}

/** Formulas hidden from the search for emphasis: `a_1` is none. @param {string} src */
function mask(src) {
  let out = "";
  for (let at = 0; at < src.length; ) {
    const next = src.slice(at).search(BEGINS);
    if (next < 0) return out + src.slice(at);
    out += src.slice(at, at + next);
    at += next;
    const { raw } = inline(src.slice(at)) ?? { raw: "" };
    out += raw ? "a".repeat(raw.length) : src[at];
    at += raw.length || 1;
  }
  return out;
}

/**
 * For marked.
 * @param {(text: string) => string} escape
 */
export function mathExtension(escape) {
  /** @param {Math} token */
  const html = ({ text, display, open }, tag) =>
    `<${tag} class="${open ? "tex" : display ? "math display" : "math"}">${escape(text)}</${tag}>`;
  return {
    hooks: { emStrongMask: mask },
    tokenizer: { lheading },
    extensions: [
      {
        name: "math",
        level: "block",
        start: (src) => src.match(BLOCK_BEGINS)?.index,
        tokenizer: block,
        renderer: (token) => html(token, "p"),
      },
      {
        name: "mathInline",
        level: "inline",
        start: (src) => src.match(BEGINS)?.index,
        tokenizer(src) {
          const token = inline(src);
          return token && { ...token, type: "mathInline" };
        },
        renderer: (token) => html(token, "span"),
      },
    ],
  };
}

/** @param {string} markdown @param {string} word what is read out for a displayed formula */
export function spokenMath(markdown, word) {
  return markdown
    .replace(/\$\$[^$]+\$\$|\\\[[^]+?\\\]/g, ` ${word} `)
    .replace(/\\\((.+?)\\\)/g, "$1");
}
