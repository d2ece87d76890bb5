// The browser's tokenizer: ids equal to the Rust `tokenizers` library's, over the vendored
// @huggingface/tokenizers.
//
// The library reads the model, converts regular expressions and finds added tokens. Normalisers and
// pre-tokenizers (tokenizer_rules.js) and models (tokenizer_models.js) are our own where its
// results differ from Rust's or cost too much memory and time; each difference is named at its
// rule. Decoding is in Python (pyengine/text/detokenize.py), the same for both back ends.
import { Tokenizer } from "./vendor/tokenizers.js";
import { makeModel } from "./tokenizer_models.js";
import { SPACE, WORD, makeNormalizer, makePreTokenizer } from "./tokenizer_rules.js";

/**
 * @param {string} tokenizerJsonText text of tokenizer.json
 * @param {string} [tokenizerConfigText] text of tokenizer_config.json
 * @returns {{encode(text: string, addSpecial?: boolean): Int32Array,
 *   tokenToId(token: string): number | undefined, idToToken(id: number): string | undefined,
 *   tokensJson(): string,
 *   vocabSize: number, specialIds: Int32Array, decoderJson: string}}
 * Throws an Error for a file it cannot read or a component it does not know.
 */
export function createTokenizer(tokenizerJsonText, tokenizerConfigText = "{}") {
  const read = readTokenizer(tokenizerJsonText, tokenizerConfigText);
  const { parts, before, after, ids, vocab, specialIds, decoderJson } = read;
  return {
    encode: (text, addSpecial = false) => {
      const out = addSpecial ? [...before] : [];
      encodeText(parts, text, out);
      if (addSpecial) out.push(...after);
      return Int32Array.from(out);
    },
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => vocab[id],
    tokensJson: () => JSON.stringify(Array.from(vocab, (token) => token ?? null)),
    vocabSize: vocab.length,
    specialIds,
    decoderJson,
  };
}

/** In a function of its own, so that no closure keeps the parsed file alive. */
function readTokenizer(jsonText, configText) {
  const json = JSON.parse(jsonText);
  const { merges, vocab } = json.model;
  const type = json.model.type ?? (merges ? "BPE" : Array.isArray(vocab) ? "Unigram" : "WordPiece");
  if (!["BPE", "Unigram", "WordPiece"].includes(type)) throw new Error(`unknown model ${type}`);
  json.model = { ...json.model, type, ...(merges && { merges: [] }) };
  for (const part of ["decoder", "normalizer", "pre_tokenizer", "post_processor"]) {
    json[part] ??= null;
  }
  json.added_tokens ??= [];
  const config = JSON.parse(configText || "{}");
  const library = new Tokenizer({ ...json, decoder: null, normalizer: null }, config);
  const { model } = library, { continuing_subword_prefix } = json.model;
  model.config = { continuing_subword_prefix };
  const template = library.post_processor?.(["\0"], null, true).tokens ?? ["\0"];
  const toIds = (tokens) => tokens.map((token) => {
    const id = model.tokens_to_ids.get(token);
    if (id === undefined) throw new Error(`the post-processor names an unknown token ${token}`);
    return id;
  });
  const normalize = makeNormalizer(json.normalizer);
  return {
    parts: {
      words: makeModel(json.model, merges, model),
      normalize,
      split: makePreTokenizer(json.pre_tokenizer),
      raw: addedFinder(library, false, (content) => content),
      normalized: addedFinder(library, true, normalize),
    },
    before: toIds(template.slice(0, template.indexOf("\0"))),
    after: toIds(template.slice(template.indexOf("\0") + 1)),
    ids: model.tokens_to_ids,
    vocab: model.vocab,
    specialIds: Int32Array.from(library.all_special_ids),
    decoderJson: JSON.stringify(json.decoder),
  };
}

/** Finds the added tokens that are matched in the text as it is, or after normalising. */
function addedFinder({ added_tokens, splitter_normalized }, normalized, form) {
  const chosen = added_tokens.filter((token) => token.normalized === normalized);
  const ids = new Map(chosen.map((token) => [form(token.content), token]));
  return { ids, splitter: new splitter_normalized.constructor([...ids.keys()]) };
}

function encodeText({ words, normalize, split, raw, normalized }, text, out) {
  for (const [piece, id, start] of splitAdded(text, raw)) {
    if (id !== undefined) { out.push(id); continue; }
    let first = start === 0;
    for (const [part, partId] of splitAdded(normalize(piece), normalized)) {
      if (partId !== undefined) out.push(partId);
      else for (const word of split(part, first)) if (word) words(word, out);
      first = false;
    }
  }
}

/** Pieces [text, id of an added token or undefined, offset]. The library takes a text that becomes
 *  an added token's by normalising for the token, ignores single_word, and for lstrip and rstrip
 *  trims what JavaScript calls white space. */
function splitAdded(text, { splitter, ids }) {
  const out = [];
  let start = 0, at = 0;
  for (const piece of splitter.split(text)) {
    const token = ids.get(piece);
    const from = at, to = at + piece.length;
    at = to;
    if (token === undefined || from < start) continue;
    if (token.single_word && (wordAt(text, before(text, from)) || wordAt(text, to))) continue;
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

const wordAt = (text, at) => at >= 0 && at < text.length
  && WORD.test(String.fromCodePoint(text.codePointAt(at)));
/** Index of the code point that ends at `at`. */
const before = (text, at) => at - (text.codePointAt(at - 2) > 0xffff ? 2 : 1);
