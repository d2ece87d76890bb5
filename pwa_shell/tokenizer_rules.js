// Normalisers and pre-tokenizers of a tokenizer.json, as the Rust `tokenizers` library does them.
import { PrecompiledNormalizer, SplitPreTokenizer, StripNormalizer } from "./vendor/tokenizers.js";
import {
  DROPPED, KEPT, NO_PUNCTUATION, OLD_PUNCTUATION, UNNORMALIZED,
} from "./unicode_tables.js";

const WORD_CLASS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
export const WORD = new RegExp(`[${WORD_CLASS}]`, "u");
export const SPACE = /\p{White_Space}/u; // JavaScript's \s adds U+FEFF and lacks U+0085
const WORDS = new RegExp(`[${WORD_CLASS}]+|[^${WORD_CLASS}\\p{White_Space}]+`, "gu");
const GPT2 = new RegExp([
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+",
  "\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
].join("|"), "gu");
const PUNCTUATION = new RegExp(
  `(?![${NO_PUNCTUATION}])[\\p{P}!-/:-@[-\`{-~]|[${OLD_PUNCTUATION}]`, "gu");
const ACCENTS = new RegExp(`(?![${UNNORMALIZED}])\\p{M}`, "gu");
const BARRIER = new RegExp(`[${UNNORMALIZED}]`, "gu");
// From U+2B920, not U+2B820: so Rust has it.
const HAN = new RegExp([
  "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}",
  "\\u{2B740}-\\u{2B81F}\\u{2B920}-\\u{2CEAF}\\uF900-\\uFAFF\\u{2F800}-\\u{2FA1F}]",
].join(""), "gu");
const encoder = new TextEncoder();

// GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes follow U+0100.
const BYTE_CHARS = (() => {
  let next = 0x100;
  const shown = (b) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0xad) || b > 0xad;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(shown(b) ? b : next++));
})();

// ---- Normalisers

export function makeNormalizer(config) {
  if (config === null) return (text) => text;
  switch (config.type) {
    case "Sequence": {
      const steps = config.normalizers.map(makeNormalizer);
      return (text) => steps.reduce((result, step) => step(result), text);
    }
    case "NFC": case "NFD": case "NFKC": case "NFKD":
      return (text) => unicodeForm(text, config.type);
    case "Replace": {
      const pattern = regexOf(config.pattern);
      // A function, since "$&" in the content is no reference in Rust.
      return (text) => text.replace(pattern, () => config.content);
    }
    // Rust leaves an empty text empty.
    case "Prepend": return (text) => (text ? config.prepend + text : text);
    case "Lowercase": return lowercase;
    case "StripAccents": return (text) => text.replace(ACCENTS, "");
    case "BertNormalizer": return bertNormalizer(config);
    case "Strip": return byLibrary(new StripNormalizer(config));
    // SentencePiece's compiled map: the library has only its usual content, NFKC with exceptions.
    case "Precompiled": return byLibrary(new PrecompiledNormalizer(config));
    default: throw new Error(`unknown normalizer ${config.type}`);
  }
}

const byLibrary = (normalizer) => (text) => normalizer.normalize(text);

/** Rust's tables are of an older Unicode: what they lack stays where it is, and nothing is
 * reordered across it. */
function unicodeForm(text, form) {
  let out = "", end = 0;
  for (const { 0: char, index } of text.matchAll(BARRIER)) {
    out += text.slice(end, index).normalize(form) + char;
    end = index + char.length;
  }
  return out + text.slice(end).normalize(form);
}

/** Each code point by itself, as Rust does: JavaScript's own gives a final sigma by context. */
function lowercase(text) {
  if (!text.includes("\u03A3")) return text.toLowerCase();
  return Array.from(text, (char) => char.toLowerCase()).join("");
}

/** The library looks at UTF-16 units, so it misses the ideographs beyond the BMP, and has newer
 * tables than Rust. */
function bertNormalizer({ clean_text, handle_chinese_chars, lowercase: lower, strip_accents }) {
  const controls = new RegExp(`(?![\\t\\n\\r${KEPT}])[\\p{Cc}\\p{Cf}\\p{Co}\\uFFFD]`, "gu");
  const accents = new RegExp(`(?![${KEPT}])\\p{Mn}|[${DROPPED}]`, "gu");
  return (text) => {
    if (clean_text) text = text.replace(controls, "").replace(/\p{White_Space}/gu, " ");
    if (handle_chinese_chars) text = text.replace(HAN, " $& ");
    if (strip_accents ?? lower) text = unicodeForm(text, "NFD").replace(accents, "");
    return lower ? lowercase(text) : text;
  };
}

// ---- Pre-tokenizers: (text, whether it begins the input) -> words

export function makePreTokenizer(config) {
  if (config === null) return (text) => [text];
  switch (config.type) {
    case "Sequence": {
      const steps = config.pretokenizers.map(makePreTokenizer);
      const apply = (words, step, first) =>
        words.flatMap((word, i) => (word ? step(word, first && i === 0) : []));
      return (text, first) => steps.reduce((words, step) => apply(words, step, first), [text]);
    }
    case "ByteLevel": return byteLevel(config);
    case "Metaspace": return metaspace(config);
    // Rust's digits are all of \p{N}; the library's are ASCII.
    case "Digits": return splitter(config.individual_digits ? /\p{N}/gu : /\p{N}+/gu, "Isolated");
    case "Split": return splitter(regexOf(config.pattern), config.behavior, config.invert);
    case "BertPreTokenizer": {
      const spaces = splitter(/\p{White_Space}/gu, "Removed");
      const marks = splitter(PUNCTUATION, "Isolated");
      return (text) => spaces(text).flatMap((word) => marks(word));
    }
    case "WhitespaceSplit": return splitter(/\p{White_Space}/gu, "Removed");
    case "Whitespace": return splitter(WORDS, "Removed", true);
    case "Punctuation": return splitter(PUNCTUATION, config.behavior ?? "Isolated");
    default: throw new Error(`unknown pre-tokenizer ${config.type}`);
  }
}

function byteLevel({ add_prefix_space = true, use_regex = true }) {
  return (text) => {
    if (add_prefix_space && !text.startsWith(" ")) text = " " + text;
    const words = use_regex ? text.match(GPT2) ?? [] : [text];
    return words.map((word) => {
      let out = "";
      for (const byte of encoder.encode(word)) out += BYTE_CHARS[byte];
      return out;
    });
  };
}

/** The library never splits at the mark, and takes "first" for every piece of the first section. */
function metaspace({ replacement = "\u2581", prepend_scheme = "always", split = true }) {
  const marks = splitter(regexOf({ String: replacement }), "MergedWithNext");
  return (text, first) => {
    text = text.replaceAll(" ", replacement);
    const prepend = prepend_scheme === "always" || (prepend_scheme === "first" && first);
    if (prepend && !text.startsWith(replacement)) text = replacement + text;
    return split ? marks(text) : [text];
  };
}

/** Rust's split behaviours; the library treats all but Removed as Isolated. */
function splitter(pattern, behavior, invert = false) {
  return (text) => {
    const spans = [];
    let end = 0;
    for (const { 0: match, index } of text.matchAll(pattern)) {
      if (!match) continue;
      if (index > end) spans.push([end, index, invert]);
      spans.push([index, end = index + match.length, !invert]);
    }
    if (end < text.length) spans.push([end, text.length, invert]);
    return joinSpans(spans, behavior).map(([from, to]) => text.slice(from, to));
  };
}

function joinSpans(spans, behavior) {
  if (behavior === "Isolated") return spans;
  if (behavior === "Removed") return spans.filter(([, , matched]) => !matched);
  const out = [];
  for (const [i, [from, to, matched]] of spans.entries()) {
    const before = spans[i - 1]?.[2];
    const joins = behavior === "Contiguous" ? before === matched
      : behavior === "MergedWithPrevious" ? matched && before === false
        : before === true && !matched; // MergedWithNext
    if (joins) out[out.length - 1][1] = to;
    else out.push([from, to]);
  }
  return out;
}

/** A JavaScript RegExp for a tokenizer.json pattern. The library folds `(?i:...)` in ASCII only,
 * but Oniguruma also
 *  matches U+017F as s and U+212A as k: such groups are written out. */
function regexOf(pattern) {
  if (pattern.String !== undefined) {
    return new RegExp(pattern.String.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gu");
  }
  const folded = (char) => {
    const lower = char.toLowerCase();
    return `[${lower}${char.toUpperCase()}${{ s: "\u017F", k: "\u212A" }[lower] ?? ""}]`;
  };
  const Regex = pattern.Regex.replace(
    /\(\?i:([A-Za-z'|]*)\)/g, (_, body) => `(?:${body.replace(/[A-Za-z]/g, folded)})`);
  return new SplitPreTokenizer({ pattern: { Regex }, invert: false }).pattern;
}
