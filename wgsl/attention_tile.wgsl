{# Causal grouped-query attention of many rows (prefill) on a GPU, or that over all of a SOURCE: flash attention (Dao et al. 2022).
   Inputs: q (T, HEADS D), k_cache, v_cache (KV_HEADS, CONTEXT, D), state; output o (T, HEADS D).
   Workgroup: 16 rows of one KV head, where a row is one (t, query head), the heads of a group side by side, so that they share
   the tiles of `keys` positions of k and v that lie in workgroup memory. Eight lanes a row: each scores every eighth position,
   then owns every eighth lot of dims of the output.
   Constants: HEADS, KV_HEADS, D (whole lots of 8 or 4 dims), CONTEXT, WINDOW, RING, SCALE, SOURCE as in attention.wgsl. #}
{% set f16 = kv == "f16" %}
{% set word = "vec4<u32>" if f16 else "vec4<f32>" %}
{% set halves = 2 if f16 else 1 %}
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<{{ word }}>;
@group(0) @binding(2) var<storage, read> v_cache: array<{{ word }}>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;
const ROWS: u32 = 16u;
const LANES: u32 = 8u;
const THREADS: u32 = ROWS * LANES;
const KEYS: u32 = {{ keys }}u;
const LOTS: u32 = D / {{ 4 * halves }}u;   // loads of one position
const STRIDE: u32 = LOTS | 1u;  // odd, so that neighbouring positions meet different banks
const SHARED: u32 = HEADS / KV_HEADS;
const LOWEST: f32 = -3.0e38;
var<workgroup> qs: array<vec4<f32>, ROWS * D / 4u>;
var<workgroup> ks: array<{{ word }}, KEYS * STRIDE>;
var<workgroup> vs: array<{{ word }}, KEYS * STRIDE>;
var<workgroup> weights: array<f32, ROWS * KEYS>;
var<workgroup> lanes: array<f32, THREADS>;
{% macro quad(name, h) %}
{% if f16 %}vec4<f32>(unpack2x16float({{ name }}.{{ "xz"[h] }}), unpack2x16float({{ name }}.{{ "yw"[h] }})){% else %}{{ name }}{% endif %}
{% endmacro %}

fn slot(p: u32) -> u32 {
  if (RING) { return p % CONTEXT; }
  return p;
}

// one beyond the last position that row t sees
fn end_of(t: u32) -> u32 {
  if (SOURCE) { return clamp(state[31], 1u, CONTEXT); }
  return select(min(state[0] + t + 1u, CONTEXT), state[0] + t + 1u, RING);
}
fn begin_of(t: u32) -> u32 { return end_of(t) - min(end_of(t), WINDOW); }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let n = state[1];
  let first = group.x * ROWS;
  if (state[2] != 0u || first / SHARED >= n) { return; }
  let row = tid / LANES;
  let lane = tid % LANES;
  let t = min((first + row) / SHARED, n - 1u);
  let begin = begin_of(t);
  let end = end_of(t);
  let stop = end_of(min((first + ROWS - 1u) / SHARED, n - 1u));
  for (var i = tid; i < ROWS * D / 4u; i += THREADS) {
    let index = first + i / (D / 4u);
    let head = group.y * SHARED + index % SHARED;
    qs[i] = q[(min(index / SHARED, n - 1u) * HEADS + head) * (D / 4u) + i % (D / 4u)] * SCALE;
  }
  var highest = LOWEST;
  var total = 0.0;
  {% for i in range(lots * halves) %}
  var sum{{ i }} = vec4<f32>(0.0);
  {% endfor %}
  for (var start = begin_of(first / SHARED); start < stop; start += KEYS) {
    workgroupBarrier();
    for (var i = tid; i < KEYS * LOTS; i += THREADS) {
      let p = i / LOTS;
      var k = {{ word }}();
      var v = {{ word }}();
      if (start + p < stop) {
        let at = (group.y * CONTEXT + slot(start + p)) * LOTS + i % LOTS;
        k = k_cache[at];
        v = v_cache[at];
      }
      ks[p * STRIDE + i % LOTS] = k;
      vs[p * STRIDE + i % LOTS] = v;
    }
    workgroupBarrier();
    {% for j in range(keys // 8) %}
    var s{{ j }} = 0.0;
    {% endfor %}
    for (var i = 0u; i < LOTS; i++) {
      {% for h in range(halves) %}
      let q{{ h }} = qs[row * (D / 4u) + i * {{ halves }}u + {{ h }}u];
      {% endfor %}
      {% for j in range(keys // 8) %}
      {
        let k = ks[(lane + {{ 8 * j }}u) * STRIDE + i];
        {% for h in range(halves) %}
        s{{ j }} += dot(q{{ h }}, {{ quad("k", h) | trim }});
        {% endfor %}
      }
      {% endfor %}
    }
    var top = LOWEST;
    {% for j in range(keys // 8) %}
    let seen{{ j }} = start + lane + {{ 8 * j }}u >= begin && start + lane + {{ 8 * j }}u < end;
    s{{ j }} = select(LOWEST, s{{ j }}, seen{{ j }});
    top = max(top, s{{ j }});
    {% endfor %}
    lanes[tid] = top;
    workgroupBarrier();
    for (var i = 0u; i < LANES; i++) { top = max(top, lanes[row * LANES + i]); }
    let now = max(highest, top);
    let rescale = exp(highest - now);
    highest = now;
    total *= rescale;
    {% for i in range(lots * halves) %}
    sum{{ i }} *= rescale;
    {% endfor %}
    {% for j in range(keys // 8) %}
    let weight{{ j }} = select(0.0, exp(s{{ j }} - now), seen{{ j }});
    weights[row * KEYS + lane + {{ 8 * j }}u] = weight{{ j }};
    total += weight{{ j }};
    {% endfor %}
    workgroupBarrier();
    for (var p = 0u; p < KEYS; p++) {
      let weight = weights[row * KEYS + p];
      {% for l in range(lots) %}
      {
        let v = vs[p * STRIDE + min(lane + {{ 8 * l }}u, LOTS - 1u)];
        {% for h in range(halves) %}
        sum{{ l * halves + h }} += weight * {{ quad("v", h) | trim }};
        {% endfor %}
      }
      {% endfor %}
    }
  }
  lanes[tid] = total;
  workgroupBarrier();
  var whole = 0.0;
  for (var i = 0u; i < LANES; i++) { whole += lanes[row * LANES + i]; }
  if ((first + row) / SHARED >= n) { return; }
  let out = (t * HEADS + group.y * SHARED + (first + row) % SHARED) * (D / 4u);
  {% for l in range(lots) %}
  if (lane + {{ 8 * l }}u < LOTS) {
    {% for h in range(halves) %}
    o[out + (lane + {{ 8 * l }}u) * {{ halves }}u + {{ h }}u] = sum{{ l * halves + h }} / whole;
    {% endfor %}
  }
  {% endfor %}
}
