{# One row of grouped-query attention, cut into parts along the cache (flash decoding, Dao et al. 2023).
   Inputs: q (1, HEADS D); or, with rope, qkv (1, (HEADS + 2 KV_HEADS) D) and the rotation tables (see rope_kv.wgsl); k_cache,
   v_cache (KV_HEADS, CONTEXT, D), with rope written at the row's position; state. Output: parts (pyengine/ir/split_ops.py).
   Workgroup: THREADS threads for (head, part); parts beyond the row's position return at once. Per tile of THREADS
   positions a thread scores one position, then LANES threads own LOT dims each, GROUPS of them taking every GROUPS-th position.
   With rope every workgroup rotates its head's q, and k where its part ends the row: a dispatch costs more.
   Constants: HEADS, KV_HEADS, D (a multiple of LOT), CONTEXT, SCALE, SPLITS, SPAN, THREADS (a power of two, >= D / LOT), with
   rope HALF, FINE. #}
{% from "common/binding.wgsl" import binding with context %}
{% set access = "read_write" if rope else "read" %}
{% set f16 = kv == "f16" %}
{% set lot = 8 if f16 else 4 %}
{{ binding() }} var<storage, read_write> q: array<f32>;
{% if rope %}
{{ binding() }} var<storage, read> coarse: array<vec2<f32>>;
{{ binding() }} var<storage, read> fine: array<vec2<f32>>;
{% endif %}
{{ binding() }} var<storage, {{ access }}> k_cache: array<{{ "vec4<u32>" if f16 else "vec4<f32>" }}>;
{{ binding() }} var<storage, {{ access }}> v_cache: array<{{ "vec4<u32>" if f16 else "vec4<f32>" }}>;
{{ binding() }} var<storage, read> state: array<u32>;
{{ binding() }} var<storage, read_write> parts: array<f32>;
{% include "common/parts.wgsl" %}
const LOT: u32 = {{ lot }}u;  // dims of one load
const LANES: u32 = D / LOT;
const GROUPS: u32 = THREADS / LANES;
const LOWEST: f32 = -3.0e38;
var<workgroup> q_row: array<vec4<f32>, D / 4u>;
var<workgroup> score: array<f32, THREADS>;
var<workgroup> sums: array<vec4<f32>, GROUPS * D / 4u>;
var<workgroup> totals: array<f32, GROUPS>;
{% if rope %}
var<workgroup> turned: array<f32, 2u * D>;  // q, then the row's own k
var<workgroup> new_k: array<{{ "vec4<u32>" if f16 else "vec4<f32>" }}, LANES>;
var<workgroup> new_v: array<{{ "vec4<u32>" if f16 else "vec4<f32>" }}, LANES>;

// dim i of the head that begins at `base` of qkv, rotated
fn rotated(base: u32, i: u32, position: u32) -> f32 {
  if (i >= 2u * HALF) { return q[base + i]; }
  let frequency = i % HALF;
  let a = coarse[position / FINE * HALF + frequency];
  let b = fine[position % FINE * HALF + frequency];
  let cosine = a.x * b.x - a.y * b.y;
  let sine = a.y * b.x + a.x * b.y;
  if (i < HALF) { return q[base + i] * cosine - q[base + i + HALF] * sine; }
  return q[base + i] * cosine + q[base + i - HALF] * sine;
}

fn v_vec(base: u32, i: u32) -> vec4<f32> { return vec4<f32>(q[base + i], q[base + i + 1u], q[base + i + 2u], q[base + i + 3u]); }
fn turned_vec(i: u32) -> vec4<f32> { return vec4<f32>(turned[i], turned[i + 1u], turned[i + 2u], turned[i + 3u]); }
{% if f16 %}
fn packed(a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}
{% endif %}

// k and v of the row itself, as the cache holds them; v is on its way while q and k turn
fn stage_row(tid: u32, head: u32, kv_head: u32, position: u32, newest: bool) {
  let v_base = (HEADS + KV_HEADS + kv_head) * D;
  var v: {{ "vec4<u32>" if f16 else "vec4<f32>" }};
  if (newest && tid < LANES) {
    v = {{ "packed(v_vec(v_base, 8u * tid), v_vec(v_base, 8u * tid + 4u))" if f16 else "v_vec(v_base, 4u * tid)" }};
  }
  for (var i = tid; i < select(D, 2u * D, newest); i += THREADS) {
    turned[i] = rotated(select(HEADS + kv_head, head, i < D) * D, i % D, position);
  }
  workgroupBarrier();
  for (var i = tid; i < D / 4u; i += THREADS) { q_row[i] = turned_vec(4u * i) * SCALE; }
  if (newest && tid < LANES) {
    let k = {{ "packed(turned_vec(D + 8u * tid), turned_vec(D + 8u * tid + 4u))" if f16 else "turned_vec(D + 4u * tid)" }};
    new_k[tid] = k;
    new_v[tid] = v;
    if (head % (HEADS / KV_HEADS) == 0u && position < CONTEXT) {
      k_cache[(kv_head * CONTEXT + position) * LANES + tid] = k;
      v_cache[(kv_head * CONTEXT + position) * LANES + tid] = v;
    }
  }
}
{% endif %}
{% macro load(which, at, i, fresh) %}
{% if rope %}
var {{ which }} = new_{{ which }}[{{ i }}];
if (!({{ fresh }})) { {{ which }} = {{ which }}_cache[{{ at }} * LANES + {{ i }}]; }
{% else %}
let {{ which }} = {{ which }}_cache[{{ at }} * LANES + {{ i }}];
{% endif %}
{% endmacro %}
{% macro quad(which, j) %}
{% if f16 %}vec4<f32>(unpack2x16float({{ which }}.{{ "xz"[j] }}), unpack2x16float({{ which }}.{{ "yw"[j] }})){% else %}{{ which }}{% endif %}
{% endmacro %}

// q . k of position `at` of the cache; `fresh`: the row's own
fn q_dot_k(at: u32, fresh: bool) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < LANES; i++) {
    {{ load("k", "at", "i", "fresh") | indent(4) }}
    {% for j in range(lot // 4) %}
    sum += dot(q_row[{{ lot // 4 }}u * i + {{ j }}u], {{ quad("k", j) | trim }});
    {% endfor %}
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let head = group.x;
  let part = group.y;
  let position = state[0];
  let length = position + 1u;
  let span = span_of(length);
  let begin = part * span;
  if (state[2] != 0u || begin >= length) { return; }
  let end = min(begin + span, length);
  let kv_head = head / (HEADS / KV_HEADS);
  let cache = kv_head * CONTEXT;  // in positions
  {% if rope %}
  stage_row(tid, head, kv_head, position, end == length);
  {% else %}
  for (var i = tid; i < D / 4u; i += THREADS) {
    let at = head * D + 4u * i;
    q_row[i] = vec4<f32>(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * SCALE;
  }
  {% endif %}
  workgroupBarrier();
  let lane = tid % LANES;
  let offset = tid / LANES;  // >= GROUPS: a spare thread
  var highest = LOWEST;
  var total = 0.0;
  {% for j in range(lot // 4) %}
  var sum{{ j }} = vec4<f32>(0.0);
  {% endfor %}
  for (var start = begin; start < end; start += THREADS) {
    let count = min(THREADS, end - start);
    var s = LOWEST;
    if (tid < count) { s = q_dot_k(cache + start + tid, start + tid == position); }
    let tile_highest = max(highest, max_all(tid, s));
    let rescale = exp(highest - tile_highest);
    score[tid] = select(0.0, exp(s - tile_highest), tid < count);
    total *= rescale;
    {% for j in range(lot // 4) %}
    sum{{ j }} *= rescale;
    {% endfor %}
    highest = tile_highest;
    workgroupBarrier();
    if (offset < GROUPS) {
      for (var p = offset; p < count; p += GROUPS) {
        let weight = score[p];
        {{ load("v", "(cache + start + p)", "lane", "start + p == position") | indent(8) }}
        {% for j in range(lot // 4) %}
        sum{{ j }} += weight * {{ quad("v", j) | trim }};
        {% endfor %}
        total += weight;
      }
    }
  }
  if (offset < GROUPS) {
    {% for j in range(lot // 4) %}
    sums[(offset * LANES + lane) * {{ lot // 4 }}u + {{ j }}u] = sum{{ j }};
    {% endfor %}
    if (lane == 0u) { totals[offset] = total; }
  }
  workgroupBarrier();
  var whole = 0.0;
  for (var g = 0u; g < GROUPS; g++) { whole += totals[g]; }
  for (var i = tid; i < D; i += THREADS) {
    var value = 0.0;
    for (var g = 0u; g < GROUPS; g++) { value += sums[(g * D + i) / 4u][i % 4u]; }
    parts[part * PARTS_ROW + head * D + i] = value / whole;
  }
  if (tid == 0u) { parts[part * PARTS_ROW + HEADS * D + head] = highest + log(whole); }
}
