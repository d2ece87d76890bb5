{# y = W x for one row of activations, with what surrounds it folded in.
   Inputs: x (K), [gain (K)], w rows, [residual (N)], state; output y (width, written from COL).
   combine: instead of x come attention's parts (pyengine/ir/split_ops.py), which every workgroup puts together.
   Workgroup: ROWS * rows output rows; LANES threads share `rows` of them, so that each load of x serves several rows;
   the lanes split K and are summed by a tree in workgroup memory.
   norm: x is RMS-normalised first (every workgroup does it: K is small, a round trip is not).
   post: before that, x becomes before + x / rms(x) * (post_gain + SHIFT), which workgroup 0 also writes to `summed`.
   glu: row r is the gate and row r + N the up projection of output r; y = silu(gate) * up (SwiGLU), or GELU's tanh form.
   conv: the first CHANNELS outputs become silu(causal convolution) of TAPS taps; `ring` holds the inputs of the last positions
   (pyengine/ir/hybrid_ops.py), and the thread that owns an output alone touches its channel.
   Constants: K, N (outputs), COL, ROWS, LANES, EPS, SHIFT (added to gains), GELU, and those of common/weights.wgsl. #}
{% set b = namespace(i=0) %}
{% macro binding() %}@group(0) @binding({{ b.i }}){% set b.i = b.i + 1 %}{% endmacro %}
{{ binding() }} var<storage, read_write> {{ "parts" if combine else "x" }}: array<vec4<f32>>;
{% if post %}
{{ binding() }} var<storage, read> post_gain: array<vec4<f32>>;
{{ binding() }} var<storage, read_write> before: array<vec4<f32>>;
{% endif %}
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
{% if conv %}
{{ binding() }} var<storage, read> taps: array<f32>;
{{ binding() }} var<storage, read_write> ring: array<f32>;
{% endif %}
{{ binding() }} var<storage, read> state: array<u32>;
{% if not into %}
{{ binding() }} var<storage, read_write> y: array<f32>;
{% endif %}
{% if post %}
{{ binding() }} var<storage, read_write> summed: array<vec4<f32>>;
{% endif %}
{% include "common/weights.wgsl" %}
{% from "common/weights.wgsl" import load_block, block_vec with context %}
{% set vecs = {"affine4": 8, "affine8": 4, "f16": 2, "bf16": 2, "f32": 1}[weights] %}
const K4: u32 = (K + 3u) / 4u;
const THREADS: u32 = ROWS * LANES;

var<workgroup> partial: array<f32, THREADS>;
{% if norm or combine %}
var<workgroup> xs: array<vec4<f32>, BLOCKS * {{ vecs }}u>;
fn x_at(i: u32) -> vec4<f32> { return xs[i]; }
{% endif %}
{% if combine %}
{% include "common/parts.wgsl" %}
{% include "common/parts_combine.wgsl" %}
fn stage_combined(tid: u32) {
  let length = state[0] + 1u;
  let span = span_of(length);
  for (var i = tid; i < BLOCKS * {{ vecs }}u; i += THREADS) {
    if (i < K4) { xs[i] = combined(i, (length + span - 1u) / span); } else { xs[i] = vec4<f32>(0.0); }
  }
  workgroupBarrier();
}
{% elif norm %}

fn tail_mask(i: u32, value: vec4<f32>) -> vec4<f32> {
  if (4u * i + 3u < K) { return value; }
  return select(vec4<f32>(0.0), value, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(K));
}

// 1 / rms of the values whose squares all threads summed
fn inverse_rms(tid: u32, sum: f32) -> f32 {
  partial[tid] = sum;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  return inverseSqrt(partial[0] / f32(K) + EPS);
}

{% if post %}
// the sum of squares that this thread's part of the new x has; xs holds that x
fn stage_summed(tid: u32, first: bool) -> f32 {
  var sum = 0.0;
  for (var i = tid; i < K4; i += THREADS) { let value = tail_mask(i, x[i]); sum += dot(value, value); }
  let inverse = inverse_rms(tid, sum);
  workgroupBarrier();
  sum = 0.0;
  for (var i = tid; i < K4; i += THREADS) {
    let value = tail_mask(i, before[i] + x[i] * inverse * (post_gain[i] + SHIFT));
    if (first) { summed[i] = value; }
    xs[i] = value;
    sum += dot(value, value);
  }
  return sum;
}
{% endif %}

// xs = (gain + SHIFT) * x / rms(x), zero beyond K
fn stage_normed(tid: u32, first: bool) {
  {% if post %}
  var sum = stage_summed(tid, first);
  {% else %}
  var sum = 0.0;
  {% endif %}
  for (var i = tid; i < BLOCKS * {{ vecs }}u; i += THREADS) {
    var value = vec4<f32>(0.0);
    {% if post %}
    if (i < K4) { value = xs[i] * tail_mask(i, gain[i] + SHIFT); }
    {% else %}
    if (i < K4) { value = tail_mask(i, x[i]); sum += dot(value, value); value *= tail_mask(i, gain[i] + SHIFT); }
    {% endif %}
    xs[i] = value;
  }
  let inverse = inverse_rms(tid, sum);
  for (var i = tid; i < BLOCKS * {{ vecs }}u; i += THREADS) { xs[i] *= inverse; }
  workgroupBarrier();
}
{% else %}
fn x_at(i: u32) -> vec4<f32> {
  if (4u * i + 3u < K) { return x[i]; }
  if (i >= K4) { return vec4<f32>(0.0); }
  return select(vec4<f32>(0.0), x[i], vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(K));
}
{% endif %}

// the sum over the lanes of a row, in its lane 0
fn reduce_lanes(tid: u32, lane: u32, value: f32) -> f32 {
  if (LANES == 1u) { return value; }
  workgroupBarrier();
  partial[tid] = value;
  workgroupBarrier();
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    if (lane < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  return partial[tid];
}

{% if glu %}
fn activated(gate: f32) -> f32 {
  if (GELU) { return gate / (1.0 + exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))); }
  return gate / (1.0 + exp(-gate));
}
{% endif %}

{% if conv %}
// what becomes of output c
fn convolved(c: u32, newest: f32) -> f32 {
  if (c >= CHANNELS) { return newest; }
  let pos = state[0];
  var sum = newest * taps[c * TAPS + TAPS - 1u];
  for (var back = 1u; back < TAPS; back++) {
    if (pos >= back) { sum += ring[(pos - back) % TAPS * CHANNELS + c] * taps[c * TAPS + TAPS - 1u - back]; }
  }
  ring[pos % TAPS * CHANNELS + c] = newest;
  return sum / (1.0 + exp(-sum));
}

{% endif %}
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[2] != 0u) { return; }
  {% if norm %}
  stage_normed(tid, group.x == 0u);
  {% elif combine %}
  stage_combined(tid);
  {% endif %}
  let lane = tid % LANES;
  let first = group.x * (ROWS * {{ rows }}u) + tid / LANES;
  {% for r in range(rows) %}
  let out{{ r }} = first + {{ r }}u * ROWS;
  let row{{ r }} = min(out{{ r }}, N - 1u);  // threads beyond the last row still reach every barrier
  var sum{{ r }} = vec4<f32>(0.0);
  {% if glu %}
  var up{{ r }} = vec4<f32>(0.0);
  {% endif %}
  {% endfor %}
  for (var v = lane; v < BLOCKS; v += LANES) {
    {% for r in range(rows) %}
    {{ load_block("row" ~ r, "v", "_" ~ r) | indent(4) }}
    {% if glu %}
    {{ load_block("(row" ~ r ~ " + N)", "v", "_up" ~ r) | indent(4) }}
    {% endif %}
    {% endfor %}
    {% for j in range(vecs) %}
    {
      let x4 = x_at(v * {{ vecs }}u + {{ j }}u);
      {% for r in range(rows) %}
      sum{{ r }} += {{ block_vec(j, "_" ~ r) | trim }} * x4;
      {% if glu %}
      up{{ r }} += {{ block_vec(j, "_up" ~ r) | trim }} * x4;
      {% endif %}
      {% endfor %}
    }
    {% endfor %}
  }
  {% for r in range(rows) %}
  {
    let sum = reduce_lanes(tid, lane, dot(sum{{ r }}, vec4<f32>(1.0)));
    {% if glu %}
    let up = reduce_lanes(tid, lane, dot(up{{ r }}, vec4<f32>(1.0)));
    {% endif %}
    if (lane == 0u && out{{ r }} < N) {
      y[COL + out{{ r }}] = {{ "activated(sum) * up" if glu else "convolved(out" ~ r ~ ", sum)" if conv else "sum" }}{{ " + residual[out" ~ r ~ "]" if residual }};
    }
  }
  {% endfor %}
}
