{# Causal grouped-query attention over the KV cache, or over all of a SOURCE; online softmax (Milakov and Gimelshein 2018).
   Inputs: q (T, HEADS D), k_cache, v_cache (KV_HEADS, CONTEXT, D), state; output o (T, HEADS D).
   One workgroup of THREADS per (head, row t). Per tile of THREADS positions: a thread scores one position, reading its key in
   vec4 loads where D allows (wide); then PAIRS threads own a pair of dims each, GROUPS of them taking every GROUPS-th position.
   Constants: MANY (more than one row), HEADS, KV_HEADS, D (even), CONTEXT (positions a cache holds), WINDOW (positions a row
   sees at most), RING (position p lies at p % CONTEXT), SCALE, SOURCE, THREADS (a power of two, >= D / 2). #}
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
{% set key = ("vec4<u32>" if kv == "f16" else "vec4<f32>") if wide else ("u32" if kv == "f16" else "vec2<f32>") %}
{% set lot = (8 if kv == "f16" else 4) if wide else 2 %}
@group(0) @binding(1) var<storage, read> k_cache: array<{{ key }}>;
@group(0) @binding(2) var<storage, read> v_cache: array<{{ "u32" if kv == "f16" else "vec2<f32>" }}>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
const PAIRS: u32 = D / 2u;
const GROUPS: u32 = THREADS / PAIRS;
const LOWEST: f32 = -3.0e38;
var<workgroup> q_row: array<vec2<f32>, PAIRS>;
var<workgroup> score: array<f32, THREADS>;
var<workgroup> sums: array<vec2<f32>, THREADS>;

fn v_pair(i: u32) -> vec2<f32> { return {{ "unpack2x16float(v_cache[i])" if kv == "f16" else "v_cache[i]" }}; }

// where position p lies in a cache
fn slot(p: u32) -> u32 {
  if (RING) { return p % CONTEXT; }
  return p;
}

// q . k of the position whose key begins at element `at`
fn q_dot_k(at: u32) -> f32 {
  var sum = vec2<f32>(0.0);
  for (var i = 0u; i < D / {{ lot }}u; i++) {
    let k = k_cache[at / {{ lot }}u + i];
    {% for j in range(lot // 2) %}
    {% set part = ("k." ~ "xyzw"[j] if kv == "f16" else "k." ~ ["xy", "zw"][j]) if wide else "k" %}
    sum += q_row[{{ lot // 2 }}u * i + {{ j }}u] * {{ "unpack2x16float(" ~ part ~ ")" if kv == "f16" else part }};
    {% endfor %}
  }
  return sum.x + sum.y;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let head = group.x;
  let t = group.y;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  var end = select(min(state[0] + t + 1u, CONTEXT), state[0] + t + 1u, RING);
  if (SOURCE) { end = clamp(state[31], 1u, CONTEXT); }
  let length = min(end, WINDOW);
  let begin = end - length;
  let cache = head / (HEADS / KV_HEADS) * CONTEXT;  // in positions
  let row = (t * HEADS + head) * D;
  for (var i = tid; i < PAIRS; i += THREADS) { q_row[i] = vec2<f32>(q[row + 2u * i], q[row + 2u * i + 1u]) * SCALE; }
  workgroupBarrier();
  let pair = tid % PAIRS;
  let offset = tid / PAIRS;  // >= GROUPS: a spare thread
  var highest = LOWEST;
  var total = 0.0;
  var sum = vec2<f32>(0.0);
  for (var start = 0u; start < length; start += THREADS) {
    let count = min(THREADS, length - start);
    var s = LOWEST;
    if (tid < count) { s = q_dot_k((cache + slot(begin + start + tid)) * D); }
    let tile_highest = max(highest, max_all(tid, s));
    let rescale = exp(highest - tile_highest);
    let weight = select(0.0, exp(s - tile_highest), tid < count);
    score[tid] = weight;
    total = total * rescale + weight;
    sum *= rescale;
    highest = tile_highest;
    workgroupBarrier();
    if (offset < GROUPS) {
      for (var p = offset; p < count; p += GROUPS) { sum += score[p] * v_pair((cache + slot(begin + start + p)) * PAIRS + pair); }
    }
    workgroupBarrier();
  }
  sums[tid] = sum;
  let whole = sum_all(tid, total);
  if (tid < PAIRS) {
    for (var g = 1u; g < GROUPS; g++) { sum += sums[tid + g * PAIRS]; }
    o[row + 2u * tid] = sum.x / whole;
    o[row + 2u * tid + 1u] = sum.y / whole;
  }
}
