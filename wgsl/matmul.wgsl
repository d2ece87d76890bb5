{# y = x W^T for T rows of activations (prefill).
   Inputs: x (T, K), w rows, state; output y (T, WIDTH) from column COL.
   Workgroup: 64 weight rows (one a thread) by TILE rows of x; a weight block is dequantised once for TILE rows.
   Constants: T, K, N, WIDTH, COL, and those of common/weights.wgsl. vec: K % 4 == 0, so rows of x are vec4 aligned. #}
@group(0) @binding(0) var<storage, read_write> x: array<{{ "vec4<f32>" if vec else "f32" }}>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding({{ 3 if into else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 2 if into else 3 }}) var<storage, read_write> y: array<f32>;
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import load_block, block_vec with context %}
{% set vecs = {"affine4": 8, "affine8": 4, "f16": 2, "bf16": 2, "f32": 1}[weights] %}
{% set tile = 16 %}
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

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let n = state[1];
  let t0 = group.y * TILE;
  if (state[2] != 0u || t0 >= n) { return; }
  let row = min(id.x, N - 1u);
  {% for t in range(tile) %}
  var sum{{ t }} = 0.0;
  let x_row{{ t }} = min(t0 + {{ t }}u, T - 1u);
  {% endfor %}
  for (var v = 0u; v < BLOCKS; v++) {
    {{ load_block("row", "v") | indent(4) }}
    {% for j in range(vecs) %}
    {
      let q = {{ block_vec(j) | trim }};
      let i = v * {{ vecs }}u + {{ j }}u;
      {% for t in range(tile) %}
      sum{{ t }} += dot(q, x_at(x_row{{ t }}, i));
      {% endfor %}
    }
    {% endfor %}
  }
  if (id.x >= N) { return; }
  {% for t in range(tile) %}
  if (t0 + {{ t }}u < n) { y[(t0 + {{ t }}u) * WIDTH + COL + row] = sum{{ t }}; }
  {% endfor %}
}
