{# Rotates q and k (NeoX halves; Su et al. 2021) and stores k and v in the caches at pos + t.
   Inputs: qkv (T, (HEADS + 2 KV_HEADS) D), coarse and fine rotation tables (cos, sin) by frequency (see ir/ops.py),
   k_cache, v_cache (KV_HEADS, CONTEXT, D) as f32 or as two f16 a word, state; output q (T, HEADS D).
   One thread per (row t, head, pair of neighbouring dims). Constants: MANY (more than one row), HEADS, KV_HEADS, D, HALF, CONTEXT, FINE. #}
@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> coarse: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> fine: array<vec2<f32>>;
{% set element = "u32" if kv == "f16" else "vec2<f32>" %}
@group(0) @binding(3) var<storage, read_write> k_cache: array<{{ element }}>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<{{ element }}>;
@group(0) @binding(5) var<storage, read> state: array<u32>;
@group(0) @binding(6) var<storage, read_write> q: array<f32>;
const WIDTH: u32 = (HEADS + 2u * KV_HEADS) * D;

fn rotated(base: u32, i: u32, position: u32) -> f32 {
  if (i >= 2u * HALF) { return qkv[base + i]; }
  let frequency = i % HALF;
  let a = coarse[position / FINE * HALF + frequency];
  let b = fine[position % FINE * HALF + frequency];
  let cosine = a.x * b.x - a.y * b.y;
  let sine = a.y * b.x + a.x * b.y;
  if (i < HALF) { return qkv[base + i] * cosine - qkv[base + i + HALF] * sine; }
  return qkv[base + i] * cosine + qkv[base + i - HALF] * sine;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  let head = id.x / (D / 2u);
  let i = id.x % (D / 2u) * 2u;
  if (state[2] != 0u || head >= HEADS + 2u * KV_HEADS || (MANY && t >= state[1])) { return; }
  let position = state[0] + t;
  let base = t * WIDTH + head * D;
  if (head < HEADS) {
    q[(t * HEADS + head) * D + i] = rotated(base, i, position);
    q[(t * HEADS + head) * D + i + 1u] = rotated(base, i + 1u, position);
    return;
  }
  if (position >= CONTEXT) { return; }
  let kv_head = (head - HEADS) % KV_HEADS;
  let slot = ((kv_head * CONTEXT + position) * D + i) / 2u;
  if (head < HEADS + KV_HEADS) {
    let pair = vec2<f32>(rotated(base, i, position), rotated(base, i + 1u, position));
    k_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  } else {
    let pair = vec2<f32>(qkv[base + i], qkv[base + i + 1u]);
    v_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  }
}
