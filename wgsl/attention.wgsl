{# Causal grouped-query attention over the KV cache, online softmax (Milakov and Gimelshein 2018).
   Inputs: q (T, HEADS D), k_cache, v_cache (KV_HEADS, CONTEXT, D), state; output o (T, HEADS D).
   One workgroup of 64 per (head, row t): each tile of 64 positions is scored one a thread, then each thread owns dims of the sum.
   Constants: MANY (more than one row), HEADS, KV_HEADS, D, CONTEXT, SCALE. D is even. #}
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
{% set element = "u32" if kv == "f16" else "vec2<f32>" %}
@group(0) @binding(1) var<storage, read> k_cache: array<{{ element }}>;
@group(0) @binding(2) var<storage, read> v_cache: array<{{ element }}>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
const TILE: u32 = 64u;
const PAIRS: u32 = D / 2u;
const OWNED: u32 = (PAIRS + TILE - 1u) / TILE;
const LOWEST: f32 = -3.0e38;
var<workgroup> q_row: array<vec2<f32>, PAIRS>;
var<workgroup> score: array<f32, TILE>;
var<workgroup> reduced: array<f32, TILE>;

fn k_pair(i: u32) -> vec2<f32> { return {{ "unpack2x16float(k_cache[i])" if kv == "f16" else "k_cache[i]" }}; }
fn v_pair(i: u32) -> vec2<f32> { return {{ "unpack2x16float(v_cache[i])" if kv == "f16" else "v_cache[i]" }}; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let head = group.x;
  let t = group.y;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  let length = min(state[0] + t + 1u, CONTEXT);
  let cache = head / (HEADS / KV_HEADS) * CONTEXT * PAIRS;
  let row = (t * HEADS + head) * D;
  for (var i = tid; i < PAIRS; i += TILE) { q_row[i] = vec2<f32>(q[row + 2u * i], q[row + 2u * i + 1u]) * SCALE; }
  workgroupBarrier();
  var highest = LOWEST;
  var total = 0.0;
  var sum: array<vec2<f32>, OWNED>;
  for (var start = 0u; start < length; start += TILE) {
    let position = start + tid;
    var s = LOWEST;
    if (position < length) {
      var products = vec2<f32>(0.0);
      for (var i = 0u; i < PAIRS; i++) { products += q_row[i] * k_pair(cache + position * PAIRS + i); }
      s = products.x + products.y;
    }
    reduced[tid] = s;
    workgroupBarrier();
    for (var stride = TILE / 2u; stride > 0u; stride /= 2u) {
      if (tid < stride) { reduced[tid] = max(reduced[tid], reduced[tid + stride]); }
      workgroupBarrier();
    }
    let tile_highest = max(highest, reduced[0]);
    let rescale = exp(highest - tile_highest);
    score[tid] = select(0.0, exp(s - tile_highest), position < length);
    workgroupBarrier();
    let count = min(TILE, length - start);
    total *= rescale;
    for (var p = 0u; p < count; p++) { total += score[p]; }
    for (var j = 0u; j < OWNED; j++) {
      let i = tid + j * TILE;
      var partial = sum[j] * rescale;
      if (i < PAIRS) {
        for (var p = 0u; p < count; p++) { partial += score[p] * v_pair(cache + (start + p) * PAIRS + i); }
      }
      sum[j] = partial;
    }
    highest = tile_highest;
    workgroupBarrier();
  }
  for (var j = 0u; j < OWNED; j++) {
    let i = tid + j * TILE;
    if (i < PAIRS) { o[row + 2u * i] = sum[j].x / total; o[row + 2u * i + 1u] = sum[j].y / total; }
  }
}
