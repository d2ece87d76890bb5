{# y = W x for one row of activations, with what surrounds it folded in.
   Inputs: x (K), [gain (K)], w rows, [residual (N)], state; output y (width, written from COL).
   combine: instead of x come attention's parts (pyengine/ir/split_ops.py), which every workgroup puts together.
   Workgroup: ROWS * rows output rows; LANES threads share `rows` of them, so that each load of x serves several rows;
   the lanes split K and are summed by common/reduce.wgsl. STAGED 1: x lies in workgroup memory, in an order in which
   neighbouring lanes meet different banks; meanwhile the lanes' first weights are on their way to registers.
   norm: x is RMS-normalised first (every workgroup does it: K is small, a round trip is not).
   post: before that, x becomes before + x / rms(x) * (post_gain + SHIFT), which workgroup 0 also writes to `summed`.
   glu: row r is the gate and row r + N the up projection of output r; y = silu(gate) * up (SwiGLU), or GELU's tanh form.
   conv: the first CHANNELS outputs become silu(causal convolution) of TAPS taps; `ring` holds the inputs of the last positions
   (pyengine/ir/hybrid_ops.py), and the thread that owns an output alone touches its channel.
   Constants: K, N (outputs), COL, ROWS, LANES, STAGED, EPS, SHIFT (added to gains), GELU, and those of common/weights.wgsl;
   `real`: the type of products, which add up in f32 behind each block of weights. #}
{% from "common/binding.wgsl" import binding with context %}
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
{% from "common/weights.wgsl" import vecs, block_vars, load_block, block_vec with context %}
const VECS: u32 = {{ vecs }}u;  // vec4 of x that a block of weights meets
const K4: u32 = (K + 3u) / 4u;
const THREADS: u32 = ROWS * LANES;
const WIDTH: u32 = BLOCKS * VECS;  // vec4 of x, with zeros behind K
var<workgroup> xs: array<vec4<f32>, (WIDTH - 1u) * STAGED + 1u>;

// where vec4 i lies in xs: the same vec4 of neighbouring blocks side by side
fn slot(i: u32) -> u32 {
  if (LANES == 1u) { return i; }
  return i % VECS * BLOCKS + i / VECS;
}

fn tail_mask(i: u32, value: vec4<f32>) -> vec4<f32> {
  if (4u * i + 3u < K) { return value; }
  return select(vec4<f32>(0.0), value, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(K));
}
{% if combine %}
{% include "common/parts.wgsl" %}
{% include "common/parts_combine.wgsl" %}
fn stage_combined(tid: u32) {
  let length = state[0] + 1u;
  let span = span_of(length);
  for (var i = tid; i < WIDTH; i += THREADS) {
    if (i < K4) { xs[slot(i)] = combined(i, (length + span - 1u) / span); } else { xs[slot(i)] = vec4<f32>(0.0); }
  }
  workgroupBarrier();
}
{% elif norm %}
fn inverse_rms(tid: u32, sum: f32) -> f32 { return inverseSqrt(sum_all(tid, sum) / f32(K) + EPS); }

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
    xs[slot(i)] = value;
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
  for (var i = tid; i < WIDTH; i += THREADS) {
    var value = vec4<f32>(0.0);
    {% if post %}
    if (i < K4) { value = xs[slot(i)] * tail_mask(i, gain[i] + SHIFT); }
    {% else %}
    if (i < K4) { value = tail_mask(i, x[i]); sum += dot(value, value); value *= tail_mask(i, gain[i] + SHIFT); }
    {% endif %}
    xs[slot(i)] = value;
  }
  let inverse = inverse_rms(tid, sum);
  for (var i = tid; i < WIDTH; i += THREADS) { xs[slot(i)] *= inverse; }
  workgroupBarrier();
}
{% else %}
fn fresh(i: u32) -> vec4<f32> {
  if (i >= K4) { return vec4<f32>(0.0); }
  return tail_mask(i, x[i]);
}

fn stage(tid: u32) {
  for (var i = tid; i < WIDTH; i += THREADS) { xs[slot(i)] = fresh(i); }
  workgroupBarrier();
}
{% endif %}

// vec4 j of those that block v meets
fn x_at(v: u32, j: u32) -> vec4<f32> {
  {% if not (norm or combine) %}
  if (STAGED == 0u) { return fresh(v * VECS + j); }
  {% endif %}
  if (LANES == 1u) { return xs[v * VECS + j]; }
  return xs[j * BLOCKS + v];
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
  let lane = tid % LANES;
  let first = group.x * (ROWS * {{ rows }}u) + tid / LANES;
  let early = min(lane, BLOCKS - 1u);
  {% for r in range(rows) %}
  let out{{ r }} = first + {{ r }}u * ROWS;
  let row{{ r }} = min(out{{ r }}, N - 1u);  // threads beyond the last row still reach every barrier
  {% if residual %}
  let added{{ r }} = residual[row{{ r }}];
  {% endif %}
  var sum{{ r }} = vec4<f32>(0.0);
  {{ block_vars("_" ~ r) | indent(2) }}
  {% if glu %}
  var up{{ r }} = vec4<f32>(0.0);
  {{ block_vars("_up" ~ r) | indent(2) }}
  {% endif %}
  {% endfor %}
  {% macro load(v) %}
  {% for r in range(rows) %}
  {{ load_block("row" ~ r, v, "_" ~ r) }}
  {% if glu %}
  {{ load_block("(row" ~ r ~ " + N)", v, "_up" ~ r) }}
  {% endif %}
  {% endfor %}
  {% endmacro %}
  if (LANES > 1u) {
    {{ load("early") | indent(4) }}
  }
  {% if norm %}
  stage_normed(tid, group.x == 0u);
  {% elif combine %}
  stage_combined(tid);
  {% else %}
  if (STAGED != 0u) { stage(tid); }
  {% endif %}
  for (var v = lane; v < BLOCKS; v += LANES) {
    if (LANES == 1u || v != lane) {
      {{ load("v") | indent(6) }}
    }
    {% for r in range(rows) %}
    var part{{ r }} = vec4<real>();
    {% if glu %}
    var part_up{{ r }} = vec4<real>();
    {% endif %}
    {% endfor %}
    {% for j in range(vecs) %}
    {
      let x4 = vec4<real>(x_at(v, {{ j }}u));
      {% for r in range(rows) %}
      part{{ r }} += {{ block_vec(j, "_" ~ r, "real") | trim }} * x4;
      {% if glu %}
      part_up{{ r }} += {{ block_vec(j, "_up" ~ r, "real") | trim }} * x4;
      {% endif %}
      {% endfor %}
    }
    {% endfor %}
    {% for r in range(rows) %}
    sum{{ r }} += vec4<f32>(part{{ r }});
    {% if glu %}
    up{{ r }} += vec4<f32>(part_up{{ r }});
    {% endif %}
    {% endfor %}
  }
  {% for r in range(rows) %}
  {
    let sum = sum_lanes(tid, LANES, dot(sum{{ r }}, vec4<f32>(1.0)));
    {% if glu %}
    let up = sum_lanes(tid, LANES, dot(up{{ r }}, vec4<f32>(1.0)));
    {% endif %}
    if (lane == 0u && out{{ r }} < N) {
      y[COL + out{{ r }}] = {{ "activated(sum) * up" if glu else "convolved(out" ~ r ~ ", sum)" if conv else "sum" }}{{ " + added" ~ r if residual }};
    }
  }
  {% endfor %}
}
