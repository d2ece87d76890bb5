{# y = x W^T for T rows of activations (prefill).
   Inputs: x (T, K), w rows, state; output y (T, WIDTH) from column COL.
   Workgroup: 16 threads of 4 weight rows each, by TILE rows of x: a dequantised vec4 serves TILE rows, a load of x four.
   Constants: K, N, WIDTH, COL, and those of common/weights.wgsl. vec: K % 4 == 0, so rows of x are vec4 aligned. #}
@group(0) @binding(0) var<storage, read_write> x: array<{{ "vec4<f32>" if vec else "f32" }}>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding({{ 3 if into else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 2 if into else 3 }}) var<storage, read_write> y: array<f32>;
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import block_vars, load_block, unit_vec, units, unit_vecs with context %}
{% set tile, rows, threads = 8, 4, 16 %}
const TILE: u32 = {{ tile }}u;

{% if vec %}
fn x_at(t: u32, i: u32) -> vec4<f32> {
  if (K % BLOCK != 0u && i >= K / 4u) { return vec4<f32>(0.0); }
  return x[t * (K / 4u) + i];
}
{% else %}
fn x_scalar(t: u32, k: u32) -> f32 {
  if (k >= K) { return 0.0; }
  return x[t * K + k];
}
fn x_at(t: u32, i: u32) -> vec4<f32> {
  let k = 4u * i;
  return vec4<f32>(x_scalar(t, k), x_scalar(t, k + 1u), x_scalar(t, k + 2u), x_scalar(t, k + 3u));
}
{% endif %}

@compute @workgroup_size({{ threads }})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let n = state[1];
  let t0 = group.y * TILE;
  if (state[2] != 0u || t0 >= n) { return; }
  {% for r in range(rows) %}
  let out{{ r }} = group.x * {{ rows * threads }}u + tid + {{ r * threads }}u;
  let row{{ r }} = min(out{{ r }}, N - 1u);
  {% for t in range(tile) %}
  var sum{{ r }}_{{ t }} = 0.0;
  {% endfor %}
  {% endfor %}
  {% for t in range(tile) %}
  let x_row{{ t }} = min(t0 + {{ t }}u, n - 1u);
  {% endfor %}
  for (var v = 0u; v < BLOCKS; v++) {
    {% for r in range(rows) %}
    {{ block_vars("_" ~ r) | indent(4) }}
    {{ load_block("row" ~ r, "v", "_" ~ r) | indent(4) }}
    {% endfor %}
    for (var u = 0u; u < {{ units }}u; u++) {
      {% for h in range(unit_vecs) %}
      {
        let i = v * {{ units * unit_vecs }}u + u * {{ unit_vecs }}u + {{ h }}u;
        {% for r in range(rows) %}
        let q{{ r }} = {{ unit_vec("u", h, "_" ~ r) | trim }};
        {% endfor %}
        {% for t in range(tile) %}
        let x{{ t }} = x_at(x_row{{ t }}, i);
        {% for r in range(rows) %}
        sum{{ r }}_{{ t }} += dot(q{{ r }}, x{{ t }});
        {% endfor %}
        {% endfor %}
      }
      {% endfor %}
    }
  }
  {% for r in range(rows) %}
  if (out{{ r }} < N) {
    {% for t in range(tile) %}
    if (t0 + {{ t }}u < n) { y[(t0 + {{ t }}u) * WIDTH + COL + out{{ r }}] = sum{{ r }}_{{ t }}; }
    {% endfor %}
  }
  {% endfor %}
}
