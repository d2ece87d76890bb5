{# Causal dilated convolution over time, (rows, channels) in and out, with what surrounds it folded in (pyengine/ir/codec_ops.py).
   Inputs: x, [alpha], kernel (TAPS, IN, OUT), offsets (OUT), [residual], [y in place], past (2, PAST, IN), state; output y.
   Workgroup: TM rows by COLS vec4 of outputs; a thread makes RM rows x 4 outputs. SPLIT groups of threads take every SPLIT-th
   step along the input channels of the same tile and add up at the end. In a step the rows of DEPTH vec4 of channels, PAST rows
   before the tile included, lie in workgroup memory, activated once. The order of a sum depends on no number of rows, and the
   text on none either: a frame's samples are the same bits whatever else is decoded with it.
   snake: the input is half_snake(x). add: y = residual + conv; into: y = (y + residual + conv) / COUNT; clamp: one channel of
   samples within -1 .. 1. Constants: IN4, OUT4 (vec4 of a row), TAPS, DILATION, RATE (rows of a frame), SNAKE, COUNT, COLS. #}
{% set tm, rm, depth, split = {"8": (8, 4, 1, 16), "32": (32, 4, 2, 4), "64": (64, 8, 4, 1), "cpu8": (8, 8, 4, 1),
                               "cpu32": (32, 8, 4, 1)}[tile] %}
{% from "common/binding.wgsl" import binding with context %}
{{ binding() }} var<storage, read_write> x: array<vec4<f32>>;
{% if snake %}
{{ binding() }} var<storage, read> alpha: array<f32>;
{% endif %}
{{ binding() }} var<storage, read> kernel: array<vec4<f32>>;
{{ binding() }} var<storage, read> offsets: array<vec4<f32>>;
{% if end in ("add", "into") %}
{{ binding() }} var<storage, read_write> residual: array<vec4<f32>>;
{% endif %}
{% if end == "into" %}
{{ binding() }} var<storage, read_write> y: array<vec4<f32>>;
{% endif %}
{{ binding() }} var<storage, read_write> past: array<vec4<f32>>;
{{ binding() }} var<storage, read> state: array<u32>;
{% if end != "into" %}
{{ binding() }} var<storage, read_write> y: array<{{ "f32" if end == "clamp" else "vec4<f32>" }}>;
{% endif %}
{% if snake %}
{% include "common/snake.wgsl" %}
{% endif %}
const TM: u32 = {{ tm }}u;
const RM: u32 = {{ rm }}u;
const DEPTH: u32 = {{ depth }}u;
const SPLIT: u32 = {{ split }}u;
const LINES: u32 = TM / RM;
const GROUP_THREADS: u32 = COLS * LINES;
const THREADS: u32 = GROUP_THREADS * SPLIT;
const PAST: u32 = (TAPS - 1u) * DILATION;
const ROWS: u32 = TM + PAST;
const PART: u32 = ROWS * DEPTH;
const ROUNDS: u32 = (IN4 + DEPTH * SPLIT - 1u) / (DEPTH * SPLIT);
// per group of threads the rows of DEPTH vec4; at the end its sums
{% if split == 1 %}
var<workgroup> staged: array<vec4<f32>, PART>;
{% else %}
var<workgroup> staged: array<vec4<f32>, max(PART, RM * GROUP_THREADS) * SPLIT>;
{% endif %}

// vec4 c of row t, which counts from the first row of this run, in an input of n rows
fn input(t: i32, c: u32, n: u32) -> vec4<f32> {
  if (t >= 0) { return x[min(u32(t), n - 1u) * IN4 + c]; }
  if (i32(state[0] * RATE) + t < 0) { return vec4<f32>(0.0); }
  return past[((state[3] & 1u) * PAST + u32(i32(PAST) + t)) * IN4 + c];
}

// the other half of past gets the last PAST of the rows so far: those of this tile, and by the first tile what stays
fn remember(tid: u32, t0: u32, n: u32) {
  let new_half = (1u - (state[3] & 1u)) * PAST;
  for (var i = tid; i < TM * IN4; i += THREADS) {
    let t = t0 + i / IN4;
    if (t < n && t + PAST >= n) { past[(new_half + t + PAST - n) * IN4 + i % IN4] = x[t * IN4 + i % IN4]; }
  }
  if (t0 > 0u || n >= PAST) { return; }
  let old_half = PAST - new_half;
  for (var i = tid; i < (PAST - n) * IN4; i += THREADS) {
    if (state[0] * RATE + n + i / IN4 >= PAST) { past[new_half * IN4 + i] = past[(old_half + n) * IN4 + i]; }
  }
}

fn put(t: u32, n: u32, o: u32, sum: vec4<f32>) {
  if (t >= n || o >= OUT4) { return; }
  let value = sum + offsets[o];
  let at = t * OUT4 + o;
  {% if end == "add" %}
  y[at] = residual[at] + value;
  {% elif end == "into" %}
  y[at] = (y[at] + (residual[at] + value)) / COUNT;
  {% elif end == "clamp" %}
  y[t] = clamp(value.x, -1.0, 1.0);
  {% else %}
  y[at] = value;
  {% endif %}
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let n = state[1] * RATE;
  let t0 = group.y * TM;
  if (state[2] != 0u || t0 >= n) { return; }
  if (group.x == 0u) { remember(tid, t0, n); }
  let part = tid / GROUP_THREADS;
  let local = tid % GROUP_THREADS;
  let line = local / COLS;
  let o = group.x * COLS + local % COLS;
  let w_o = min(o, OUT4 - 1u);
  let mine = part * {{ "PART" if split == 1 else "max(PART, RM * GROUP_THREADS)" }};
  {% for i in range(rm) %}
  var sum{{ i }} = vec4<f32>(0.0);
  {% endfor %}
  for (var round = 0u; round < ROUNDS; round++) {
    let c0 = (round * SPLIT + part) * DEPTH;
    for (var i = local; i < PART; i += GROUP_THREADS) {
      let c = c0 + i % DEPTH;
      let row = i / DEPTH;
      if (c < IN4) {
        let found = input(i32(t0 + row) - i32(PAST), c, n);
        staged[mine + i % DEPTH * ROWS + row] = {{ "half_snake(found, 4u * c)" if snake else "found" }};
      }
    }
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
      if (c0 + d >= IN4) { break; }
      for (var j = 0u; j < TAPS; j++) {
        let from_w = (j * IN4 + c0 + d) * 4u * OUT4 + w_o;
        let w0 = kernel[from_w];
        let w1 = kernel[from_w + OUT4];
        let w2 = kernel[from_w + 2u * OUT4];
        let w3 = kernel[from_w + 3u * OUT4];
        let at = mine + d * ROWS + j * DILATION + line;
        {% for i in range(rm) %}
        {
          let a = staged[at + {{ i * tm // rm }}u];
          {% if "cpu" in tile %}
          sum{{ i }} += a.x * w0 + a.y * w1 + a.z * w2 + a.w * w3;
          {% else %}
          sum{{ i }} = fma(vec4<f32>(a.x), w0, sum{{ i }});
          sum{{ i }} = fma(vec4<f32>(a.y), w1, sum{{ i }});
          sum{{ i }} = fma(vec4<f32>(a.z), w2, sum{{ i }});
          sum{{ i }} = fma(vec4<f32>(a.w), w3, sum{{ i }});
          {% endif %}
        }
        {% endfor %}
      }
    }
    workgroupBarrier();
  }
  {% if split == 1 %}
  {% for i in range(rm) %}
  put(t0 + line + {{ i * tm // rm }}u, n, o, sum{{ i }});
  {% endfor %}
  {% else %}
  {% include "common/split_sum.wgsl" %}
  put(t0 + line + part * LINES, n, o, total);
  {% endif %}
}
