{# y = W x for one row of activations, with what surrounds it folded in.
   Inputs: x (K), [gain (K)], w rows, [residual (N)], state; output y (width, written from COL).
   Workgroup: ROWS output rows, LANES threads each; the lanes of a row split K and are summed by a tree in workgroup memory.
   norm: x is RMS-normalised first (every workgroup does it: K is small, a round trip is not).
   glu: row r is the gate and row r + N the up projection of output r; y = silu(gate) * up (SwiGLU).
   Constants: K, N (outputs), COL, ROWS, LANES, EPS, and those of common/weights.wgsl. #}
{% set b = namespace(i=0) %}
{% macro binding() %}@group(0) @binding({{ b.i }}){% set b.i = b.i + 1 %}{% endmacro %}
{{ binding() }} var<storage, read_write> x: array<vec4<f32>>;
{% if norm %}
{{ binding() }} var<storage, read> gain: array<vec4<f32>>;
{% endif %}
{{ binding() }} var<storage, read> w: array<vec4<u32>>;
{% if into %}
{{ binding() }} var<storage, read_write> y: array<f32>;
{% endif %}
{% if residual %}
{{ binding() }} var<storage, read_write> residual: array<f32>;
{% endif %}
{{ binding() }} var<storage, read> state: array<u32>;
{% if not into %}
{{ binding() }} var<storage, read_write> y: array<f32>;
{% endif %}
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import load_block, block_vec with context %}
{% set vecs = {"affine4": 8, "affine8": 4, "f16": 2, "bf16": 2, "f32": 1}[weights] %}
const K4: u32 = (K + 3u) / 4u;
const THREADS: u32 = ROWS * LANES;

var<workgroup> partial: array<f32, THREADS>;
{% if glu %}
var<workgroup> partial_up: array<f32, THREADS>;
{% endif %}
{% if norm %}
var<workgroup> xs: array<vec4<f32>, BLOCKS * {{ vecs }}u>;

fn tail_mask(i: u32, value: vec4<f32>) -> vec4<f32> {
  if (4u * i + 3u < K) { return value; }
  return select(vec4<f32>(0.0), value, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(K));
}

// xs = gain * x / rms(x), zero beyond K
fn stage_normed(tid: u32) {
  var sum = 0.0;
  for (var i = tid; i < BLOCKS * {{ vecs }}u; i += THREADS) {
    var value = vec4<f32>(0.0);
    if (i < K4) { value = tail_mask(i, x[i]); sum += dot(value, value); value *= tail_mask(i, gain[i]); }
    xs[i] = value;
  }
  partial[tid] = sum;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  let inverse = inverseSqrt(partial[0] / f32(K) + EPS);
  for (var i = tid; i < BLOCKS * {{ vecs }}u; i += THREADS) { xs[i] *= inverse; }
  workgroupBarrier();
}

fn x_at(i: u32) -> vec4<f32> { return xs[i]; }
{% else %}
fn x_at(i: u32) -> vec4<f32> {
  if (4u * i + 3u < K) { return x[i]; }
  if (i >= K4) { return vec4<f32>(0.0); }
  return select(vec4<f32>(0.0), x[i], vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(K));
}
{% endif %}

fn row_dot(row: u32, lane: u32) -> f32 {
  var sum = vec4<f32>(0.0);
  for (var v = lane; v < BLOCKS; v += LANES) {
    {{ load_block("row", "v") | indent(4) }}
    {% for j in range(vecs) %}
    sum += {{ block_vec(j) | trim }} * x_at(v * {{ vecs }}u + {{ j }}u);
    {% endfor %}
  }
  return dot(sum, vec4<f32>(1.0));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[2] != 0u) { return; }
  {% if norm %}
  stage_normed(tid);
  {% endif %}
  let lane = tid % LANES;
  let out = group.x * ROWS + tid / LANES;
  let row = min(out, N - 1u);  // threads beyond the last row still reach every barrier
  var sum = row_dot(row, lane);
  {% if glu %}
  var up = row_dot(row + N, lane);
  {% endif %}
  if (LANES > 1u) {
    partial[tid] = sum;
    {% if glu %}
    partial_up[tid] = up;
    {% endif %}
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
      if (lane < stride) {
        partial[tid] += partial[tid + stride];
        {% if glu %}
        partial_up[tid] += partial_up[tid + stride];
        {% endif %}
      }
      workgroupBarrier();
    }
    sum = partial[tid];
    {% if glu %}
    up = partial_up[tid];
    {% endif %}
  }
  if (lane == 0u && out < N) {
    {% if glu %}
    sum = sum / (1.0 + exp(-sum)) * up;
    {% endif %}
    y[COL + out] = sum{% if residual %} + residual[out]{% endif %};
  }
}
