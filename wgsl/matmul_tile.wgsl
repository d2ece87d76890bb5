{# y = x W^T for many rows of activations (prefill) on a GPU, with what surrounds it folded in.
   Inputs: x (T, K), [gain (K)], w rows, [residual (T, N)], state; output y (T, WIDTH) from column COL.
   Workgroup: a tile of TM rows of x by TN weight rows; a thread makes RM x 4 of its outputs. SPLIT groups of threads take every
   SPLIT-th step along K of the same tile and add up at the end, so that few tiles still keep many threads busy. In a step of
   DEPTH vec4 both sides lie in workgroup memory (weights dequantised once), in slots swizzled so that neighbouring rows meet
   different banks, while the next step's loads are on their way to registers. At most 16 KB of workgroup memory.
   half: both sides lie there in f16, and a step's products add up in f16, the steps in f32. x goes in times 1/64, so that all
   up to four million fits; what that rounds is below 2^-19, and a larger one is cut off.
   norm: rows of x times (gain + SHIFT) go in, and 1 / rms of each row is applied to what comes out.
   glu: a tile holds gate rows and the up rows N further on; y = silu(gate) * up, or GELU's tanh form.
   Constants: K, N (outputs), WIDTH, COL, EPS, SHIFT, GELU, and those of common/weights.wgsl. vec: K % 4 == 0, so rows of x are
   vec4 aligned. #}
{% set tm, tn, rm, depth, split = {"64x64": (64, 64, 8, 8, 1), "32x32": (32, 32, 4, 4, 4), "16x32": (16, 32, 4, 4, 4),
                                   "16x16": (16, 16, 4, 4, 8)}[tile] %}
{% set threads = tm // rm * tn // 4 %}
{% set real = "f16" if half else "f32" %}
{% from "common/binding.wgsl" import binding with context %}
{{ binding() }} var<storage, read_write> x: array<{{ "vec4<f32>" if vec else "f32" }}>;
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
{% from "common/weights.wgsl" import units, unit_vecs, word_vec with context %}
{% set affine = weights in ("affine4", "affine8") %}
const TM: u32 = {{ tm }}u;
const TN: u32 = {{ tn }}u;
const RM: u32 = {{ rm }}u;
const DEPTH: u32 = {{ depth }}u;    // vec4 along K of one step
const SPLIT: u32 = {{ split }}u;
const COLUMNS: u32 = TN / 4u;       // threads along N
const LINES: u32 = TM / RM;         // and along the rows of x
const GROUP_THREADS: u32 = {{ threads }}u;
const UNITS: u32 = DEPTH / {{ unit_vecs }}u;  // words (or whole dense blocks) of one weight row in a step
const ROUNDS: u32 = (K + 4u * DEPTH * SPLIT - 1u) / (4u * DEPTH * SPLIT);
const GROUP_SLOTS: u32 = (TM + TN) * DEPTH;
{# rows of x and units of weights that a thread stages #}
{% set fetch_x = tm * depth // threads %}
{% set fetch_w = tn * (depth // unit_vecs) // threads %}
// per group of threads: TM rows of x, then TN weight rows; at the end sums, unless they have a place of their own
var<workgroup> staged: array<vec4<{{ real }}>, GROUP_SLOTS * SPLIT>;
{% if half and norm %}
var<workgroup> squares: array<f32, TM * DEPTH * SPLIT>;
{% endif %}
{% if half and split > 1 %}
var<workgroup> totals: array<vec4<f32>, RM * GROUP_THREADS>;
{% endif %}

fn slot(row: u32, k4: u32) -> u32 { return row * DEPTH + (k4 ^ (row * DEPTH / 8u % DEPTH)); }

fn x_at(t: u32, i: u32) -> vec4<f32> {
  {% if vec %}
  if (K % (4u * DEPTH * SPLIT) != 0u && i >= K / 4u) { return vec4<f32>(0.0); }
  return x[t * (K / 4u) + i];
  {% else %}
  var value = vec4<f32>(0.0);
  for (var c = 0u; c < 4u; c++) {
    if (4u * i + c < K) { value[c] = x[t * K + 4u * i + c]; }
  }
  return value;
  {% endif %}
}

// the weight row behind row `local` of a tile
fn weight_row(tile: u32, local: u32) -> u32 {
  {% if glu %}
  let out = min(tile * (TN / 2u) + local % (TN / 2u), N - 1u);
  return select(out, out + N, local >= TN / 2u);
  {% else %}
  return min(tile * TN + local, N - 1u);
  {% endif %}
}

{% macro fetch(round) %}
{
  let step = ({{ round }}) * SPLIT + part;
  let i = step * DEPTH + k4;
  {% for p in range(fetch_x) %}
  x_{{ p }} = x_at(min(t0 + line0 + {{ p * threads // depth }}u, n - 1u), i);
  {% endfor %}
  {% if norm %}
  let scaling = select(vec4<f32>(0.0), gain[min(i, K / 4u - 1u)] + SHIFT, i < K / 4u);
  {% for p in range(fetch_x) %}
  square{{ p }} += dot(x_{{ p }}, x_{{ p }});
  x_{{ p }} *= scaling;
  {% endfor %}
  {% endif %}
  {% for q in range(fetch_w) %}
  {
    let unit = step * UNITS + (local + {{ q * threads }}u) % UNITS;  // from the row's start
    let row = weight_row(group.x, (local + {{ q * threads }}u) / UNITS);
    let inside = unit < BLOCKS * {{ units }}u;
    {% if affine %}
    let at = min(unit, BLOCKS * {{ units }}u - 1u);
    word{{ q }} = w[row * ROW_VECS + at / 4u][at % 4u];
    scale{{ q }} = select(vec2<f32>(0.0), scale_bias(row, min(at * (BLOCK / 4u) / GROUP, K / GROUP - 1u)), inside);
    {% else %}
    word{{ q }} = select(vec4<u32>(0u), w[row * ROW_VECS + min(unit, BLOCKS - 1u)], inside);
    {% endif %}
  }
  {% endfor %}
}
{% endmacro %}

{% if norm %}
// 1 / rms of row `line` of the tile, from the squares that the threads which staged it left
fn inverse_rms(line: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < DEPTH * SPLIT; i++) { sum += {{ "squares[line * (DEPTH * SPLIT) + i]" if half else "staged[line * (DEPTH * SPLIT) + i].x" }}; }
  return inverseSqrt(sum / f32(K) + EPS);
}
{% endif %}

{% if glu %}
fn activated(gate: f32) -> f32 {
  if (GELU) { return gate / (1.0 + exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))); }
  return gate / (1.0 + exp(-gate));
}
{% endif %}

// a thread's four outputs of row t
fn put(t: u32, n: u32, tile: u32, column: u32, sum: vec4<f32>) {
  if (t >= n) { return; }
  {% if glu %}
  let first = tile * (TN / 2u) + column;
  if (first < N) { y[t * WIDTH + COL + first] = activated(sum.x) * sum.z; }
  if (first + COLUMNS < N) { y[t * WIDTH + COL + first + COLUMNS] = activated(sum.y) * sum.w; }
  {% else %}
  for (var j = 0u; j < 4u; j++) {
    let out = tile * TN + column + j * COLUMNS;
    if (out < N) { y[t * WIDTH + COL + out] = sum[j]{{ " + residual[t * N + out]" if residual }}; }
  }
  {% endif %}
}

@compute @workgroup_size({{ threads * split }})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let n = state[1];
  let t0 = group.y * TM;
  if (state[2] != 0u || t0 >= n) { return; }
  let part = tid / GROUP_THREADS;
  let local = tid % GROUP_THREADS;
  let column = local % COLUMNS;
  let line = local / COLUMNS;
  let k4 = local % DEPTH;
  let line0 = local / DEPTH;
  let xs = part * GROUP_SLOTS;
  let ws = xs + TM * DEPTH;
  {% for p in range(fetch_x) %}
  var x_{{ p }}: vec4<f32>;
  {% if norm %}
  var square{{ p }} = 0.0;
  {% endif %}
  {% endfor %}
  {% for q in range(fetch_w) %}
  {% if affine %}
  var word{{ q }}: u32;
  var scale{{ q }}: vec2<f32>;
  {% else %}
  var word{{ q }}: vec4<u32>;
  {% endif %}
  {% endfor %}
  {% for i in range(rm) %}
  var sum{{ i }} = vec4<f32>(0.0);
  {% endfor %}
  {{ fetch("0u") | indent(2) }}
  for (var round = 0u; round < ROUNDS; round++) {
    {% for p in range(fetch_x) %}
    staged[xs + slot(line0 + {{ p * threads // depth }}u, k4)] = {{ "vec4<f16>(clamp(x_%d * 0.015625, vec4<f32>(-65504.0), vec4<f32>(65504.0)))" % p if half else "x_%d" % p }};
    {% endfor %}
    {% for q in range(fetch_w) %}
    {
      let row = (local + {{ q * threads }}u) / UNITS;
      let k = (local + {{ q * threads }}u) % UNITS * {{ unit_vecs }}u;
      {% for h in range(unit_vecs) %}
      staged[ws + slot(row, k + {{ h }}u)] = vec4<{{ real }}>({{ word_vec("word" ~ q, "scale" ~ q, h) | trim }});
      {% endfor %}
    }
    {% endfor %}
    workgroupBarrier();
    if (round + 1u < ROUNDS) {
      {{ fetch("round + 1u") | indent(6) }}
    }
    {% if half %}
    {% for i in range(rm) %}
    var part{{ i }} = vec4<f16>();
    {% endfor %}
    {% endif %}
    {% set sums = "part" if half else "sum" %}
    for (var k = 0u; k < DEPTH; k++) {
      {% for j in range(4) %}
      let w{{ j }} = staged[ws + slot(column + {{ j * tn // 4 }}u, k)];
      {% endfor %}
      {% for i in range(rm) %}
      {
        let a = staged[xs + slot(line + {{ i * tm // rm }}u, k)];
        {% for c in "xyzw" %}
        {{ sums }}{{ i }} = fma(vec4<{{ real }}>(a.{{ c }}), vec4<{{ real }}>(w0.{{ c }}, w1.{{ c }}, w2.{{ c }}, w3.{{ c }}), {{ sums }}{{ i }});
        {% endfor %}
      }
      {% endfor %}
    }
    {% if half %}
    {% for i in range(rm) %}
    sum{{ i }} += vec4<f32>(part{{ i }});
    {% endfor %}
    {% endif %}
    workgroupBarrier();
  }
  {% if half %}
  {% for i in range(rm) %}
  sum{{ i }} *= 64.0;
  {% endfor %}
  {% endif %}
  {% if norm %}
  {% for p in range(fetch_x) %}
  {{ "squares" if half else "staged" }}[(line0 + {{ p * threads // depth }}u) * (DEPTH * SPLIT) + part * DEPTH + k4] = {{ "square%d" % p if half else "vec4<f32>(square%d)" % p }};
  {% endfor %}
  workgroupBarrier();
  {% endif %}
  {% if split == 1 %}
  {% for i in range(rm) %}
  put(t0 + line + {{ i * tm // rm }}u, n, group.x, column, sum{{ i }}{{ " * inverse_rms(line + %du)" % (i * tm // rm) if norm }});
  {% endfor %}
  {% else %}
  // group i adds up row i of every thread's outputs
  let mine = line + min(part, RM - 1u) * LINES;
  {% if norm %}
  let inverse = inverse_rms(mine);
  workgroupBarrier();
  {% endif %}
  {% if half %}
  // one group after the other: there is no room for all
  for (var s = 0u; s < SPLIT; s++) {
    if (s == part) {
      {% for i in range(rm) %}
      totals[{{ i }}u * GROUP_THREADS + local] = select(vec4<f32>(0.0), totals[{{ i }}u * GROUP_THREADS + local], s > 0u) + sum{{ i }};
      {% endfor %}
    }
    workgroupBarrier();
  }
  if (part >= RM) { return; }
  let total = totals[part * GROUP_THREADS + local];
  {% else %}
  {% include "common/split_sum.wgsl" %}
  {% endif %}
  put(t0 + mine, n, group.x, column, total{{ " * inverse" if norm }});
  {% endif %}
}
