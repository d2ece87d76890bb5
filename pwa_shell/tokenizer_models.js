// BPE, Unigram and WordPiece as the Rust `tokenizers` library does them: (word, ids to append to).
//
// The library keeps a JSON string per BPE merge, spreads a text's Unigram tokens as call arguments
// (1 MB overflows the stack), and fuses unknown tokens across words: BPE and Unigram are our own.

const encoder = new TextEncoder();
const codePointAt = (text, at) => String.fromCodePoint(text.codePointAt(at));

export function makeModel(config, merges, model) {
  if (config.type === "BPE") return makeBpe(config, merges ?? [], model.tokens_to_ids);
  if (config.type === "Unigram" || Array.isArray(config.vocab)) return makeUnigram(config, model);
  return (word, out) => {
    for (const token of model.encode([word])) out.push(model.tokens_to_ids.get(token));
  };
}

/** Ids of `<0x00>` to `<0xFF>`, undefined where the vocabulary lacks one. */
function byteIds(ids) {
  const hex = (byte) => byte.toString(16).toUpperCase().padStart(2, "0");
  return Array.from({ length: 256 }, (_, byte) => ids.get(`<0x${hex(byte)}>`));
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
    if (merged === undefined || !ids.has(left) || !ids.has(right)) {
      throw new Error(`merge ${rank} names a token that the vocabulary lacks`);
    }
    ranks.set(ids.get(left) * ID + ids.get(right), rank * ID + merged);
  }
  const bytes = byteIds(ids);
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
      const fallback = byte_fallback ? Array.from(encoder.encode(text), (b) => bytes[b]) : [];
      if (fallback.length && !fallback.includes(undefined)) {
        symbols.push(...fallback);
        continue;
      }
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

/** Applies the lowest rank first, the leftmost of equals, until no pair merges: a heap of rank *
 * POSITION + position. */
function mergeAll(symbols, ranks) {
  const n = symbols.length, heap = [];
  if (n < 2) return symbols;
  const next = Int32Array.from(symbols, (_, i) => i + 1);
  const previous = Int32Array.from(symbols, (_, i) => i - 1);
  const rule = (i) => (next[i] < n ? ranks.get(symbols[i] * ID + symbols[next[i]]) : undefined);
  const offer = (i) => {
    const found = i < 0 ? undefined : rule(i);
    if (found !== undefined) heapPush(heap, Math.floor(found / ID) * POSITION + i);
  };
  for (let i = 0; i < n; i++) offer(i);
  while (heap.length) {
    const top = heapPop(heap), i = top % POSITION;
    const found = symbols[i] < 0 ? undefined : rule(i);
    // Outdated: a neighbour has merged since.
    if (found === undefined || Math.floor(found / ID) !== Math.floor(top / POSITION)) continue;
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
  for (let parent; i > 0 && heap[(parent = (i - 1) >> 1)] > value; i = parent) {
    heap[i] = heap[parent];
  }
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

/** Viterbi over the word, scores added from the left, the first of equals kept: Rust's
 * `encode_optimized`. */
function makeUnigram(config, model) {
  const { tokens_to_ids: ids, trie } = model, { byte_fallback } = config;
  const unknown = config.unk_id ?? 0;
  const scores = Float64Array.from(config.vocab, ([, score]) => score);
  const penalty = scores.reduce((a, b) => Math.min(a, b), Infinity) - 10;
  const bytes = byteIds(ids);
  return (word, out) => {
    const n = word.length;
    const best = new Float64Array(n + 1).fill(-Infinity); // score of the best path that ends here
    const from = new Int32Array(n + 1), idAt = new Int32Array(n + 1); // its last piece
    best[0] = 0;
    const offer = (start, end, score, id) => {
      const total = best[start] + score;
      if (total > best[end]) [best[end], from[end], idAt[end]] = [total, start, id];
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

/** The ids of the best path; neighbouring unknown pieces are one, or bytes where the vocabulary has
 * them all. */
function pushPath(word, from, idAt, unknown, bytes, out) {
  const path = [];
  for (let end = word.length; end > 0; end = from[end]) {
    const last = path.at(-1);
    if (idAt[end] === unknown && last?.id === unknown) last.start = from[end];
    else path.push({ id: idAt[end], start: from[end], end });
  }
  for (const { id, start, end } of path.reverse()) {
    const raw = id === unknown && bytes ? encoder.encode(word.slice(start, end)) : [];
    const fallback = Array.from(raw, (byte) => bytes[byte]);
    for (const each of fallback.length && !fallback.includes(undefined) ? fallback : [id]) {
      out.push(each);
    }
  }
}
