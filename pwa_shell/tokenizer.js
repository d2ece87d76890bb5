// The browser's tokenizer: ids equal to the Rust `tokenizers` library's, over the vendored @huggingface/tokenizers.
//
// The library parses the model, converts regular expressions and finds added tokens. Done here instead, because its
// results differ from Rust's (each difference is named at its rule below) or need too much memory and time:
//   BPE by ids (the library keeps a JSON string per merge), Unigram (it spreads a text's tokens as call arguments,
//   which overflows the stack), unknown tokens fused per word, normalisers and pre-tokenizers.
// Decoding is in Python (pyengine/text/detokenize.py), the same for both back ends.
import {
  PrecompiledNormalizer, SplitPreTokenizer, StripNormalizer, Tokenizer,
} from "./vendor/tokenizers.js";
import { DROPPED, KEPT, NO_PUNCTUATION, OLD_PUNCTUATION, UNNORMALIZED } from "./unicode_tables.js";

const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const SPACE = /\p{White_Space}/u; // JavaScript's \s adds U+FEFF and lacks U+0085
const GPT2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const PUNCTUATION = new RegExp(`(?![${NO_PUNCTUATION}])[\\p{P}!-/:-@[-\`{-~]|[${OLD_PUNCTUATION}]`, "gu");
const BARRIER = new RegExp(`[${UNNORMALIZED}]`, "gu");
const encoder = new TextEncoder();

// GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes follow U+0100.
const BYTE_CHARS = (() => {
  let next = 0x100;
  const shown = (b) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0xad) || b > 0xad;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(shown(b) ? b : next++));
})();

/**
 * @param {string} tokenizerJsonText text of tokenizer.json
 * @param {string} [tokenizerConfigText] text of tokenizer_config.json
 * @returns {{encode(text: string, addSpecial?: boolean): Int32Array, tokenToId(token: string): number | undefined,
 *   idToToken(id: number): string | undefined, vocabSize: number, specialIds: Int32Array, decoderJson: string}}
 * Throws an Error for a file it cannot read or a component it does not know.
 */
export function createTokenizer(tokenizerJsonText, tokenizerConfigText = "{}") {
  const { parts, before, after, ids, vocab, specialIds, decoderJson } = read(tokenizerJsonText, tokenizerConfigText);
  return {
    encode: (text, addSpecial = false) => {
      const out = addSpecial ? [...before] : [];
      encodeText(parts, text, out);
      if (addSpecial) out.push(...after);
      return Int32Array.from(out);
    },
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => vocab[id],
    vocabSize: vocab.length,
    specialIds,
    decoderJson,
  };
}

/** In a function of its own, so that no closure keeps the parsed file alive. */
function read(jsonText, configText) {
  const json = JSON.parse(jsonText);
  const { merges } = json.model;
  if (json.model.type === "BPE" || merges) json.model = { ...json.model, type: "BPE", merges: [] };
  for (const key of ["decoder", "normalizer", "pre_tokenizer", "post_processor"]) json[key] ??= null;
  json.added_tokens ??= [];
  const library = new Tokenizer({ ...json, decoder: null }, JSON.parse(configText || "{}"));
  const { model } = library, { continuing_subword_prefix } = json.model;
  model.config = { continuing_subword_prefix };
  const template = library.post_processor?.(["\0"], null, true).tokens ?? ["\0"];
  const toIds = (tokens) => tokens.map((token) => model.tokens_to_ids.get(token));
  return {
    parts: {
      words: makeModel(json.model, merges, model),
      normalize: makeNormalizer(json.normalizer),
      split: makePreTokenizer(json.pre_tokenizer),
      added: library.added_tokens_map,
      raw: library.splitter_unnormalized,
      normalized: library.splitter_normalized,
    },
    before: toIds(template.slice(0, template.indexOf("\0"))),
    after: toIds(template.slice(template.indexOf("\0") + 1)),
    ids: model.tokens_to_ids,
    vocab: model.vocab,
    specialIds: Int32Array.from(library.all_special_ids),
    decoderJson: JSON.stringify(json.decoder),
  };
}

function encodeText({ words, normalize, split, added, raw, normalized }, text, out) {
  for (const [piece, id, start] of splitAdded(text, raw, added)) {
    if (id !== undefined) { out.push(id); continue; }
    let first = start === 0;
    for (const [part, partId] of splitAdded(normalize(piece), normalized, added)) {
      if (partId !== undefined) out.push(partId);
      else for (const [i, word] of split(part, first).entries()) if (word) words(word, out, i);
      first = false;
    }
  }
}

/** Pieces [text, id of an added token or undefined, offset]. The library ignores single_word, and trims
 *  JavaScript's idea of white space for lstrip and rstrip. */
function splitAdded(text, splitter, added) {
  const out = [];
  let start = 0, at = 0;
  for (const piece of splitter.split(text)) {
    const token = added.get(piece);
    const from = at, to = at + piece.length;
    at = to;
    if (token === undefined || from < start) continue;
    if (token.single_word && (WORD.test(codePointBefore(text, from)) || WORD.test(codePointAt(text, to)))) continue;
    let left = from, right = to;
    while (token.lstrip && left > start && SPACE.test(text[left - 1])) left--;
    while (token.rstrip && right < text.length && SPACE.test(text[right])) right++;
    if (left > start) out.push([text.slice(start, left), undefined, start]);
    out.push([piece, token.id, left]);
    start = right;
  }
  if (start < text.length) out.push([text.slice(start), undefined, start]);
  return out;
}

const codePointAt = (text, at) => (at < text.length ? String.fromCodePoint(text.codePointAt(at)) : "");
const codePointBefore = (text, at) => Array.from(text.slice(Math.max(0, at - 2), at)).pop() ?? "";

// ---- Normalisers

function makeNormalizer(config) {
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
      return (text) => text.replace(pattern, () => config.content); // "$&" in the content is no reference in Rust
    }
    case "Prepend": return (text) => (text ? config.prepend + text : text); // Rust leaves an empty text empty
    case "Lowercase": return lowercase;
    case "StripAccents": return (text) => text.replace(/\p{Mn}/gu, ""); // the library drops \p{Mc}, \p{Me} too
    case "BertNormalizer": return bertNormalizer(config);
    case "Strip": { const strip = new StripNormalizer(config); return (text) => strip.normalize(text); }
    case "Precompiled": { const map = new PrecompiledNormalizer(config); return (text) => map.normalize(text); }
    default: throw new Error(`unknown normalizer ${config.type}`);
  }
}

/** Rust's tables are of an older Unicode: what they lack stays where it is, and nothing is reordered across it. */
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
  return /\u03A3/.test(text) ? Array.from(text, (c) => c.toLowerCase()).join("") : text.toLowerCase();
}

/** The library looks at UTF-16 units, so it misses the ideographs beyond the BMP, and has newer tables than Rust. */
function bertNormalizer({ clean_text, handle_chinese_chars, lowercase: lower, strip_accents }) {
  const controls = new RegExp(`(?![\\t\\n\\r${KEPT}])[\\p{Cc}\\p{Cf}\\p{Co}\\uFFFD]`, "gu");
  const accents = new RegExp(`(?![${KEPT}])\\p{Mn}|[${DROPPED}]`, "gu");
  // From U+2B920, not U+2B820: so Rust has it.
  const han = /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;
  return (text) => {
    if (clean_text) text = text.replace(controls, "").replace(/\p{White_Space}/gu, " ");
    if (handle_chinese_chars) text = text.replace(han, " $& ");
    if (strip_accents ?? lower) text = unicodeForm(text, "NFD").replace(accents, "");
    return lower ? lowercase(text) : text;
  };
}

// ---- Pre-tokenizers: (text, whether it begins the input) -> words

function makePreTokenizer(config) {
  if (config === null) return (text) => [text];
  switch (config.type) {
    case "Sequence": {
      const steps = config.pretokenizers.map(makePreTokenizer);
      return (text, first) => steps.reduce(
        (words, step) => words.flatMap((word, i) => (word ? step(word, first && i === 0) : [])), [text]);
    }
    case "ByteLevel": return byteLevel(config);
    case "Metaspace": return metaspace(config);
    // Rust's digits are all of \p{N}; the library's are ASCII.
    case "Digits": return splitter(config.individual_digits ? /\p{N}/gu : /\p{N}+/gu, "Isolated");
    case "Split": return splitter(regexOf(config.pattern), config.behavior, config.invert);
    case "BertPreTokenizer": {
      const spaces = splitter(/\p{White_Space}/gu, "Removed"), marks = splitter(PUNCTUATION, "Isolated");
      return (text) => spaces(text).flatMap((word) => marks(word));
    }
    case "WhitespaceSplit": return splitter(/\p{White_Space}/gu, "Removed");
    case "Whitespace": return splitter(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu, "Removed", true);
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
  const marks = splitter(new RegExp(replacement.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gu"), "MergedWithNext");
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

/** A JavaScript RegExp for a tokenizer.json pattern. The library folds `(?i:...)` in ASCII only, but Oniguruma also
 *  matches U+017F as s and U+212A as k: such groups are written out. */
function regexOf(pattern) {
  if (pattern.String !== undefined) return new RegExp(pattern.String.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gu");
  const source = pattern.Regex.replace(/\(\?i:([A-Za-z'|]*)\)/g, (_, body) => `(?:${body.replace(/[A-Za-z]/g, (c) => {
    const lower = c.toLowerCase();
    return `[${lower}${c.toUpperCase()}${{ s: "\u017F", k: "\u212A" }[lower] ?? ""}]`;
  })})`);
  return new SplitPreTokenizer({ pattern: { Regex: source }, invert: false, behavior: "Isolated" }).pattern;
}

// ---- Models: (word, ids to append to)

function makeModel(config, merges, model) {
  if (config.type === "BPE") return makeBpe(config, merges ?? [], model.tokens_to_ids);
  if (config.type === "Unigram" || Array.isArray(config.vocab)) return makeUnigram(config, model);
  return (word, out) => { for (const token of model.encode([word])) out.push(model.tokens_to_ids.get(token)); };
}

const WORDS_KEPT = 10000;
const ID = 2 ** 21; // more ids than any vocabulary has; a pair of ids is then one exact number
const POSITION = 2 ** 26;

function makeBpe({ byte_fallback, fuse_unk, ignore_merges, unk_token, ...config }, merges, ids) {
  const prefix = config.continuing_subword_prefix ?? "", suffix = config.end_of_word_suffix ?? "";
  const ranks = new Map(); // left * ID + right -> rank * ID + merged id
  for (const [rank, merge] of merges.entries()) {
    const [left, right] = Array.isArray(merge) ? merge : merge.split(" ", 2);
    const merged = ids.get(left + right.slice(prefix.length));
    if (merged === undefined || !ids.has(left) || !ids.has(right)) throw new Error(`merge ${rank} names unknown tokens`);
    ranks.set(ids.get(left) * ID + ids.get(right), rank * ID + merged);
  }
  const bytes = Array.from({ length: 256 }, (_, b) => ids.get(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`));
  const unknown = unk_token == null ? undefined : ids.get(unk_token);
  const symbolsOf = (word) => {
    const symbols = [], chars = Array.from(word);
    let held = false; // an unknown token that following ones may be fused with
    for (const [i, char] of chars.entries()) {
      const text = (i ? prefix : "") + char + (i === chars.length - 1 ? suffix : "");
      const id = ids.get(text);
      if (id !== undefined) {
        if (held) symbols.push(unknown);
        held = false;
        symbols.push(id);
        continue;
      }
      const fallback = byte_fallback ? Array.from(encoder.encode(text), (b) => bytes[b]) : [undefined];
      if (!fallback.includes(undefined)) { for (const b of fallback) symbols.push(b); continue; }
      if (unknown === undefined) continue;
      if (held && !fuse_unk) symbols.push(unknown);
      held = true;
    }
    if (held) symbols.push(unknown);
    return symbols;
  };
  const kept = new Map();
  return (word, out) => {
    let result = kept.get(word);
    if (result === undefined) {
      const whole = ignore_merges ? ids.get(word) : undefined;
      result = whole === undefined ? mergeAll(symbolsOf(word), ranks) : [whole];
      if (kept.size >= WORDS_KEPT) kept.clear();
      if (word.length < 64) kept.set(word, result);
    }
    for (const id of result) out.push(id);
  };
}

/** Applies the lowest rank first, the leftmost of equals, until no pair merges: a heap of rank * POSITION + position. */
function mergeAll(symbols, ranks) {
  const n = symbols.length, heap = [];
  if (n < 2) return symbols;
  const next = Int32Array.from(symbols, (_, i) => i + 1), previous = Int32Array.from(symbols, (_, i) => i - 1);
  const rule = (i) => (next[i] < n ? ranks.get(symbols[i] * ID + symbols[next[i]]) : undefined);
  const offer = (i) => {
    const found = i < 0 ? undefined : rule(i);
    if (found !== undefined) heapPush(heap, Math.floor(found / ID) * POSITION + i);
  };
  for (let i = 0; i < n; i++) offer(i);
  while (heap.length) {
    const top = heapPop(heap), i = top % POSITION;
    const found = symbols[i] < 0 ? undefined : rule(i);
    if (found === undefined || Math.floor(found / ID) !== Math.floor(top / POSITION)) continue; // outdated
    const gone = next[i];
    symbols[i] = found % ID;
    symbols[gone] = -1;
    next[i] = next[gone];
    if (next[gone] < n) previous[next[gone]] = i;
    offer(previous[i]);
    offer(i);
  }
  return symbols.filter((id) => id >= 0);
}

function heapPush(heap, value) {
  let i = heap.push(value) - 1;
  for (let parent; i > 0 && heap[(parent = (i - 1) >> 1)] > value; i = parent) heap[i] = heap[parent];
  heap[i] = value;
}

function heapPop(heap) {
  const top = heap[0], value = heap.pop(), n = heap.length;
  if (!n) return top;
  let i = 0;
  for (let child = 1; child < n; child = 2 * i + 1) {
    if (child + 1 < n && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= value) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = value;
  return top;
}

/** Viterbi over the word, scores added from the left, the first of equals kept: Rust's `encode_optimized`. */
function makeUnigram(config, model) {
  const { tokens_to_ids: ids, trie } = model, unknown = config.unk_id ?? 0, { byte_fallback } = config;
  const scores = Float64Array.from(config.vocab, ([, score]) => score);
  const penalty = scores.reduce((a, b) => Math.min(a, b), Infinity) - 10;
  const bytes = Array.from({ length: 256 }, (_, b) => ids.get(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`));
  return (word, out) => {
    const n = word.length;
    const best = new Float64Array(n + 1).fill(-Infinity), from = new Int32Array(n + 1), idAt = new Int32Array(n + 1);
    best[0] = 0;
    const offer = (start, end, score, id) => {
      if (best[start] + score > best[end]) [best[end], from[end], idAt[end]] = [best[start] + score, start, id];
    };
    for (let start = 0, width; start < n; start += width) {
      width = word.codePointAt(start) > 0xffff ? 2 : 1;
      let node = trie.root, single = false;
      for (let end = start; end < n;) {
        const char = codePointAt(word, end);
        node = node.children.get(char);
        if (node === undefined) break;
        end += char.length;
        if (!node.is_leaf) continue;
        const id = ids.get(word.slice(start, end));
        offer(start, end, scores[id], id);
        single ||= end - start === width;
      }
      if (!single) offer(start, start + width, penalty, unknown);
    }
    pushPath(word, from, idAt, unknown, byte_fallback ? bytes : null, out);
  };
}

/** The ids of the best path; neighbouring unknown pieces are one, or bytes where the vocabulary has them all. */
function pushPath(word, from, idAt, unknown, bytes, out) {
  const path = [];
  for (let end = word.length; end > 0; end = from[end]) {
    const last = path.at(-1);
    if (idAt[end] === unknown && last?.id === unknown) last.start = from[end];
    else path.push({ id: idAt[end], start: from[end], end });
  }
  for (const { id, start, end } of path.reverse()) {
    const fallback = id === unknown && bytes ? Array.from(encoder.encode(word.slice(start, end)), (b) => bytes[b]) : null;
    if (fallback && !fallback.includes(undefined)) for (const b of fallback) out.push(b);
    else out.push(id);
  }
}
