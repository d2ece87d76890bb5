{# The chunked delta rule: walks the chunks of a prefill and carries S (pyengine/ir/hybrid_ops.py, chunked_delta).
   Inputs: y (T, WIDTH), f (delta_chunks' output), s (NV, DK, DV), state; output o (T, NV DV).
   Workgroup: COLS x 4 columns of one value head's S, which stay in workgroup memory; SIZE x COLS threads, one per (row, four
   columns). Columns of S do not depend on each other, so that heads are cut for more workgroups.
   vec: rows of y are vec4 aligned. half: S is two f16 a word. Constants: NK, NV, DK, DV, SIZE, COLS. #}
@group(0) @binding(0) var<storage, read_write> y: array<{{ "vec4<f32>" if vec else "f32" }}>;
@group(0) @binding(1) var<storage, read_write> f: array<f32>;
@group(0) @binding(2) var<storage, read_write> s: array<{{ "vec2<u32>" if half else "vec4<f32>" }}>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>;
{% set gates = false %}
{% include "common/delta.wgsl" %}
const DV4: u32 = DV / 4u;
const THREADS: u32 = SIZE * COLS;
var<workgroup> held: array<vec4<f32>, DK * COLS>;
var<workgroup> rest: array<vec4<f32>, SIZE * COLS>;
var<workgroup> left: array<f32, SIZE>;  // exp(G_end - G_j) / |k_j|

{% if vec %}
fn at4(i: u32) -> vec4<f32> { return y[i / 4u]; }
{% else %}
fn at4(i: u32) -> vec4<f32> { return vec4<f32>(y[i], y[i + 1u], y[i + 2u], y[i + 3u]); }
{% endif %}

fn load_s(i: u32) -> vec4<f32> {
  {% if half %}
  return vec4<f32>(unpack2x16float(s[i].x), unpack2x16float(s[i].y));
  {% else %}
  return s[i];
  {% endif %}
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[2] != 0u) { return; }
  let h = group.x;
  let q0 = key_head_of(h) * DK;
  let c0 = group.y * COLS;
  let n = state[1];
  let fresh = state[0] == 0u;  // nothing before position 0
  for (var i = tid; i < DK * COLS; i += THREADS) {
    let c = c0 + i % COLS;
    var value = vec4<f32>(0.0);
    if (c < DV4 && !fresh) { value = load_s((h * DK + i / COLS) * DV4 + c); }
    held[i] = value;
  }
  workgroupBarrier();
  let i = tid / COLS;
  let c = tid % COLS;
  for (var row0 = 0u; row0 < n; row0 += SIZE) {
    let m = min(SIZE, n - row0);
    let at = (row0 / SIZE * NV + h) * (2u * SIZE * SIZE + 4u * SIZE);
    let tail = at + 2u * SIZE * SIZE;
    let end = f[tail + m - 1u];
    let row = (row0 + i) * WIDTH;
    let valid = i < m && c0 + c < DV4;
    var value = vec4<f32>(0.0);
    var out = vec4<f32>(0.0);
    if (valid) {
      var sum_k = vec4<f32>(0.0);
      for (var r = 0u; r < DK; r += 4u) {
        let k = at4(row + K0 + q0 + r);
        let q = at4(row + q0 + r);
        {% for e in range(4) %}
        let s{{ e }} = held[(r + {{ e }}u) * COLS + c];
        sum_k += k[{{ e }}] * s{{ e }};
        out += q[{{ e }}] * s{{ e }};
        {% endfor %}
      }
      let grown = exp(f[tail + i]);
      out *= grown * f[tail + 3u * SIZE + i];
      value = f[tail + SIZE + i] * (at4(row + V0 + h * DV + 4u * (c0 + c)) - sum_k * (grown * f[tail + 2u * SIZE + i]));
    }
    rest[tid] = value;
    if (c == 0u && i < m) { left[i] = exp(end - f[tail + i]) * f[tail + 2u * SIZE + i]; }
    workgroupBarrier();
    var d = vec4<f32>(0.0);
    if (valid) {
      for (var j = 0u; j <= i; j++) { d += f[at + i * SIZE + j] * rest[j * COLS + c]; }
    }
    workgroupBarrier();
    rest[tid] = d;
    workgroupBarrier();
    if (valid) {
      for (var j = 0u; j <= i; j++) { out += f[at + SIZE * SIZE + i * SIZE + j] * rest[j * COLS + c]; }
      o[((row0 + i) * NV + h) * DV4 + c0 + c] = out;
    }
    for (var e = tid; e < DK / 4u * COLS; e += THREADS) {
      let r = e / COLS * 4u;
      var sum = array<vec4<f32>, 4>();
      for (var j = 0u; j < m; j++) {
        let k = at4((row0 + j) * WIDTH + K0 + q0 + r) * left[j];
        let dj = rest[j * COLS + e % COLS];
        {% for x in range(4) %}
        sum[{{ x }}] += k[{{ x }}] * dj;
        {% endfor %}
      }
      {% for x in range(4) %}
      held[(r + {{ x }}u) * COLS + e % COLS] = held[(r + {{ x }}u) * COLS + e % COLS] * exp(end) + sum[{{ x }}];
      {% endfor %}
    }
    workgroupBarrier();
  }
  for (var e = tid; e < DK * COLS; e += THREADS) {
    let to = c0 + e % COLS;
    if (to < DV4) {
      {% if half %}
      s[(h * DK + e / COLS) * DV4 + to] = vec2<u32>(pack2x16float(held[e].xy), pack2x16float(held[e].zw));
      {% else %}
      s[(h * DK + e / COLS) * DV4 + to] = held[e];
      {% endif %}
    }
  }
}
