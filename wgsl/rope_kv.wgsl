{# Rotates q and k (NeoX halves, or neighbours where PAIRED; Su et al. 2021) and stores k and v in the caches at pos + t.
   Inputs: qkv (T, (HEADS + 2 KV_HEADS) D), [bias (HEADS + 2 KV_HEADS, D) | gains (2, D): rows padded to ROW],
   coarse and fine rotation tables (cos, sin) by frequency (see ir/ops.py), k_cache, v_cache (KV_HEADS, CONTEXT, D) as f32 or
   as two f16 a word, state; output q (T, HEADS D).
   before "bias": added to qkv first; "norm": each head of q and k is RMS-normalised first, by a workgroup per (row t, head);
   else one thread per (row t, head, pair of neighbouring dims). frames: positions as rope_places of ir/ops.py counts them.
   Constants: MANY (more than one row), HEADS, KV_HEADS, D, HALF (pairs that rotate), FREQUENCIES (of the tables), CONTEXT,
   RING (positions count modulo CONTEXT), FINE, GATED (behind each head of q lies its gate), PAIRED, EPS, SHIFT (added to the gains), with frames TOKEN_STEPS, FRAME_STEPS, GROUP. #}
{% from "common/binding.wgsl" import binding with context %}
{% set element = "u32" if kv == "f16" else "vec2<f32>" %}
{{ binding() }} var<storage, read_write> qkv: array<f32>;
{% if before %}
{{ binding() }} var<storage, read> extra: array<f32>;
{% endif %}
{{ binding() }} var<storage, read> coarse: array<vec2<f32>>;
{{ binding() }} var<storage, read> fine: array<vec2<f32>>;
{{ binding() }} var<storage, read_write> k_cache: array<{{ element }}>;
{{ binding() }} var<storage, read_write> v_cache: array<{{ element }}>;
{{ binding() }} var<storage, read> state: array<u32>;
{{ binding() }} var<storage, read_write> q: array<f32>;
const Q_STRIDE: u32 = select(D, 2u * D, GATED);
const WIDTH: u32 = HEADS * Q_STRIDE + 2u * KV_HEADS * D;

fn base_of(t: u32, head: u32) -> u32 {
  return t * WIDTH + min(head, HEADS) * Q_STRIDE + (max(head, HEADS) - HEADS) * D;
}
{% if before %}
const ROW: u32 = (D + 3u) / 4u * 4u;
{% endif %}
{% if before == "norm" %}
var<private> inverse: f32;
var<workgroup> partial: array<f32, 64>;

fn normalise(head: u32, base: u32, tid: u32) {
  var sum = 0.0;
  for (var i = tid; i < D; i += 64u) { sum += qkv[base + i] * qkv[base + i]; }
  partial[tid] = sum;
  workgroupBarrier();
  for (var stride = 32u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  inverse = inverseSqrt(partial[0] / f32(D) + EPS);
}
{% endif %}

fn at(head: u32, base: u32, i: u32) -> f32 {
  {% if before == "bias" %}
  return qkv[base + i] + extra[head * ROW + i];
  {% elif before == "norm" %}
  if (head >= HEADS + KV_HEADS) { return qkv[base + i]; }
  return qkv[base + i] * inverse * (extra[select(0u, ROW, head >= HEADS) + i] + SHIFT);
  {% else %}
  return qkv[base + i];
  {% endif %}
}

fn rotated(head: u32, base: u32, i: u32, at_position: u32) -> f32 {
  if (i >= 2u * HALF) { return at(head, base, i); }
  {% if frames %}
  let first = state[31];
  let spoken = first * TOKEN_STEPS + (at_position - first) / GROUP * FRAME_STEPS;
  let position = select(spoken, at_position * TOKEN_STEPS, at_position < first);
  {% else %}
  let position = at_position;
  {% endif %}
  let frequency = select(i % FREQUENCIES, i / 2u, PAIRED);
  let a = coarse[position / FINE * FREQUENCIES + frequency];
  let b = fine[position % FINE * FREQUENCIES + frequency];
  let cosine = a.x * b.x - a.y * b.y;
  let sine = a.y * b.x + a.x * b.y;
  if (PAIRED) {
    if (i % 2u == 0u) { return at(head, base, i) * cosine - at(head, base, i + 1u) * sine; }
    return at(head, base, i) * cosine + at(head, base, i - 1u) * sine;
  }
  if (i < HALF) { return at(head, base, i) * cosine - at(head, base, i + HALF) * sine; }
  return at(head, base, i) * cosine + at(head, base, i - HALF) * sine;
}

fn put(t: u32, head: u32, i: u32) {
  let position = state[0] + t;
  let base = base_of(t, head);
  if (head < HEADS) {
    q[(t * HEADS + head) * D + i] = rotated(head, base, i, position);
    q[(t * HEADS + head) * D + i + 1u] = rotated(head, base, i + 1u, position);
    return;
  }
  if (!RING && position >= CONTEXT) { return; }
  let kv_head = (head - HEADS) % KV_HEADS;
  let slot = ((kv_head * CONTEXT + position % CONTEXT) * D + i) / 2u;
  if (head < HEADS + KV_HEADS) {
    let pair = vec2<f32>(rotated(head, base, i, position), rotated(head, base, i + 1u, position));
    k_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  } else {
    let pair = vec2<f32>(at(head, base, i), at(head, base, i + 1u));
    v_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  }
}

{% if before == "norm" %}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let head = group.x;
  let t = group.y;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  normalise(head, base_of(t, head), tid);
  for (var i = 2u * tid; i < D; i += 128u) { put(t, head, i); }
}
{% else %}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  let head = id.x / (D / 2u);
  if (state[2] != 0u || head >= HEADS + 2u * KV_HEADS || (MANY && t >= state[1])) { return; }
  put(t, head, id.x % (D / 2u) * 2u);
}
{% endif %}
