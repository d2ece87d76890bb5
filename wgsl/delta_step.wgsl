{# One step of the gated delta rule (Yang, Kautz and Hatamizadeh 2024) for one row of activations, in one pass over S.
   Inputs: y (WIDTH) = q | k | v | z | b | a, a_log (NV), dt_bias (NV), s (NV, DK, DV), [gain (DV)], state; output o (NV DV).
   Workgroup: one value head; GROUPS x DV / 4 threads, each holding PER rows of four columns of S in registers. Both k S and
   q S are summed in the one pass, since o = q S' = decay q S + (q k) d for S' = decay S + k d.
   norm: o becomes gain * o / rms(o) * silu(z). half: S is two f16 a word.
   Constants: NK, NV, DK, DV, GROUPS (a power of two), PER = DK / GROUPS, EPS. #}
{% from "common/binding.wgsl" import binding with context %}
{{ binding() }} var<storage, read_write> y: array<f32>;
{{ binding() }} var<storage, read> a_log: array<f32>;
{{ binding() }} var<storage, read> dt_bias: array<f32>;
{{ binding() }} var<storage, read_write> s: array<{{ "vec2<u32>" if half else "vec4<f32>" }}>;
{% if norm %}
{{ binding() }} var<storage, read> gain: array<vec4<f32>>;
{% endif %}
{{ binding() }} var<storage, read> state: array<u32>;
{{ binding() }} var<storage, read_write> o: array<vec4<f32>>;
{% set gates = true %}
{% include "common/delta.wgsl" %}
const DV4: u32 = DV / 4u;
const THREADS: u32 = GROUPS * DV4;
var<workgroup> qs: array<f32, DK>;
var<workgroup> ks: array<f32, DK>;
var<workgroup> lengths: array<vec4<f32>, THREADS>;  // q q, k k, q k
var<workgroup> by_k: array<vec4<f32>, THREADS>;
var<workgroup> by_q: array<vec4<f32>, THREADS>;

fn column4(at: u32) -> vec4<f32> { return vec4<f32>(y[at], y[at + 1u], y[at + 2u], y[at + 3u]); }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[2] != 0u) { return; }
  let h = group.x;
  let key_head = key_head_of(h);
  let c = tid % DV4;
  let first = tid / DV4 * PER;
  let base = (h * DK + first) * DV4 + c;
  var held: array<vec4<f32>, PER>;
  let fresh = state[0] == 0u;  // nothing before position 0
  for (var i = 0u; i < PER; i++) {
    {% if half %}
    let pair = s[base + i * DV4];
    let value = vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
    {% else %}
    let value = s[base + i * DV4];
    {% endif %}
    held[i] = select(value, vec4<f32>(0.0), fresh);
  }
  var products = vec4<f32>(0.0);
  for (var i = tid; i < DK; i += THREADS) {
    let q = y[key_head * DK + i];
    let k = y[K0 + key_head * DK + i];
    qs[i] = q;
    ks[i] = k;
    products += vec4<f32>(q * q, k * k, q * k, 0.0);
  }
  lengths[tid] = products;
  workgroupBarrier();
  var dots = vec4<f32>(0.0);
  for (var i = 0u; i < min(THREADS, DK); i++) { dots += lengths[i]; }
  let q_inverse = inverseSqrt(dots.x + 1e-6) * inverseSqrt(f32(DK));
  let k_inverse = inverseSqrt(dots.y + 1e-6);
  var sum_k = vec4<f32>(0.0);
  var sum_q = vec4<f32>(0.0);
  for (var i = 0u; i < PER; i++) {
    sum_k += held[i] * ks[first + i];
    sum_q += held[i] * qs[first + i];
  }
  by_k[tid] = sum_k;
  by_q[tid] = sum_q;
  workgroupBarrier();
  for (var stride = GROUPS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride * DV4) {
      by_k[tid] += by_k[tid + stride * DV4];
      by_q[tid] += by_q[tid + stride * DV4];
    }
    workgroupBarrier();
  }
  let decay = exp(decay_of(0u, h));
  let v = column4(V0 + h * DV + 4u * c);
  let d = (v - by_k[c] * (decay * k_inverse)) * beta_of(0u, h);
  for (var i = 0u; i < PER; i++) {
    let value = held[i] * decay + d * (ks[first + i] * k_inverse);
    {% if half %}
    s[base + i * DV4] = vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
    {% else %}
    s[base + i * DV4] = value;
    {% endif %}
  }
  let out = by_q[c] * (decay * q_inverse) + d * (dots.z * q_inverse * k_inverse);
  {% if norm %}
  lengths[tid] = vec4<f32>(dot(out, out));  // its first use ended barriers ago
  workgroupBarrier();
  var square = 0.0;
  for (var i = 0u; i < DV4; i++) { square += lengths[i].x; }
  let z = column4(Z0 + h * DV + 4u * c);
  let normed = out * inverseSqrt(square / f32(DV) + EPS) * gain[c] * z / (1.0 + exp(-z));
  if (tid < DV4) { o[h * DV4 + c] = normed; }
  {% else %}
  if (tid < DV4) { o[h * DV4 + c] = out; }
  {% endif %}
}
