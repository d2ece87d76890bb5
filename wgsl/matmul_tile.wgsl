{# y = x W^T for many rows of activations (prefill) on a GPU.
   Inputs: x (T, K), w rows, state; output y (T, WIDTH) from column COL.
   Workgroup: 256 threads make a tile of 64 rows of x by 64 weight rows, 4 x 4 outputs a thread; per 32 columns both sides are
   staged in workgroup memory as vec4 along K (weights dequantised once), in slots swizzled so that neighbouring rows meet
   different banks. 16 KB of workgroup memory, all that WebGPU guarantees.
   Constants: K, N, WIDTH, COL, and those of common/weights.wgsl. vec: K % 4 == 0, so rows of x are vec4 aligned. #}
@group(0) @binding(0) var<storage, read_write> x: array<{{ "vec4<f32>" if vec else "f32" }}>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding({{ 3 if into else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 2 if into else 3 }}) var<storage, read_write> y: array<f32>;
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import load_block, unit_vec, vecs, units, unit_vecs with context %}
const TILE: u32 = 64u;
const DEPTH: u32 = 8u;  // vec4 along K of one step: 32 columns
const UNITS: u32 = DEPTH / {{ unit_vecs }}u;  // weight units of one row in a step
const STEPS: u32 = (K + 4u * DEPTH - 1u) / (4u * DEPTH);
var<workgroup> xs: array<vec4<f32>, TILE * DEPTH>;
var<workgroup> ws: array<vec4<f32>, TILE * DEPTH>;

fn slot(row: u32, k4: u32) -> u32 { return row * DEPTH + (k4 ^ (row % DEPTH)); }

fn x_at(t: u32, i: u32) -> vec4<f32> {
  {% if vec %}
  if (K % 32u != 0u && i >= K / 4u) { return vec4<f32>(0.0); }
  return x[t * (K / 4u) + i];
  {% else %}
  var value = vec4<f32>(0.0);
  for (var c = 0u; c < 4u; c++) {
    if (4u * i + c < K) { value[c] = x[t * K + 4u * i + c]; }
  }
  return value;
  {% endif %}
}

fn stage_weights(row: u32, local: u32, unit: u32, step: u32) {
  let first = step * UNITS + unit;  // in units from the row's start
  let v = first / {{ units }}u;
  let u = first % {{ units }}u;
  if (v >= BLOCKS) {
    {% for h in range(unit_vecs) %}
    ws[slot(local, unit * {{ unit_vecs }}u + {{ h }}u)] = vec4<f32>(0.0);
    {% endfor %}
    return;
  }
  {{ load_block("row", "v") | indent(2) }}
  {% for h in range(unit_vecs) %}
  ws[slot(local, unit * {{ unit_vecs }}u + {{ h }}u)] = {{ unit_vec("u", h) | trim }};
  {% endfor %}
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let n = state[1];
  let t0 = group.y * TILE;
  if (state[2] != 0u || t0 >= n) { return; }
  let column = tid % 16u;
  let line = tid / 16u;
  {% for i in range(4) %}
  var sum{{ i }} = vec4<f32>(0.0);
  {% endfor %}
  for (var step = 0u; step < STEPS; step++) {
    for (var i = tid; i < TILE * DEPTH; i += 256u) {
      let t = i / DEPTH;
      xs[slot(t, i % DEPTH)] = x_at(min(t0 + t, n - 1u), step * DEPTH + i % DEPTH);
    }
    for (var i = tid; i < TILE * UNITS; i += 256u) {
      let local = i / UNITS;
      stage_weights(min(group.x * TILE + local, N - 1u), local, i % UNITS, step);
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      {% for j in range(4) %}
      let w{{ j }} = ws[slot(column + {{ 16 * j }}u, k)];
      {% endfor %}
      {% for i in range(4) %}
      let x{{ i }} = xs[slot(line + {{ 16 * i }}u, k)];
      sum{{ i }} += vec4<f32>(dot(x{{ i }}, w0), dot(x{{ i }}, w1), dot(x{{ i }}, w2), dot(x{{ i }}, w3));
      {% endfor %}
    }
    workgroupBarrier();
  }
  {% for i in range(4) %}
  if (t0 + line + {{ 16 * i }}u < n) {
    let at = (t0 + line + {{ 16 * i }}u) * WIDTH + COL + group.x * TILE + column;
    {% for j in range(4) %}
    if (group.x * TILE + column + {{ 16 * j }}u < N) { y[at + {{ 16 * j }}u] = sum{{ i }}.{{ "xyzw"[j] }}; }
    {% endfor %}
  }
  {% endfor %}
}
