{# Keys and values of rows 0 .. n into caches that a decoder attends to whole (pyengine/ir/audio_ops.py).
   Inputs: kv (T, 2 HEADS D), keys before values, k_cache, v_cache (HEADS, LENGTH, D) as f32 or as two f16 a word, state.
   One thread per pair of neighbouring dims. Constants: MANY (more than one row), HEADS, LENGTH, D (even). #}
{% set element = "u32" if kv == "f16" else "vec2<f32>" %}
@group(0) @binding(0) var<storage, read_write> rows: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> k_cache: array<{{ element }}>;
@group(0) @binding(2) var<storage, read_write> v_cache: array<{{ element }}>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
const PAIRS: u32 = D / 2u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  let head = id.x / PAIRS;  // of the keys, then of the values
  if (state[2] != 0u || head >= 2u * HEADS || (MANY && t >= state[1])) { return; }
  let pair = rows[(t * 2u * HEADS + head) * PAIRS + id.x % PAIRS];
  let slot = (head % HEADS * LENGTH + t) * PAIRS + id.x % PAIRS;
  if (head < HEADS) {
    k_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  } else {
    v_cache[slot] = {{ "pack2x16float(pair)" if kv == "f16" else "pair" }};
  }
}
