{# x[t] = scale * table[tokens[t]].
   Inputs: tokens (T), w rows (V, K), state; output x (T, K). One thread per (row t, weight block).
   into: w is rows ROW0 .. ROW0 + V of the table, and only the rows of x whose ids are among them are written.
   Constants: MANY (more than one row), K, V, SCALE, ROW0, and those of common/weights.wgsl. #}
@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding({{ 3 if into else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 2 if into else 3 }}) var<storage, read_write> x: array<f32>;
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import vecs, block_vars, load_block, block_vec with context %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  if (state[2] != 0u || id.x >= BLOCKS || (MANY && t >= state[1])) { return; }
  {% if into %}
  let row = tokens[t] - ROW0;  // wraps below ROW0, beyond every table
  if (row >= V) { return; }
  {% else %}
  let row = min(tokens[t], V - 1u);
  {% endif %}
  {{ block_vars() | indent(2) }}
  {{ load_block("row", "id.x") | indent(2) }}
  {% for j in range(vecs) %}
  {
    let q = {{ block_vec(j) | trim }} * SCALE;
    let k = id.x * BLOCK + {{ 4 * j }}u;
    {% for c in range(4) %}
    if (k + {{ c }}u < K) { x[t * K + k + {{ c }}u] = q.{{ "xyzw"[c] }}; }
    {% endfor %}
  }
  {% endfor %}
}
