{# What a chunk of SIZE rows of the chunked delta rule needs apart from v and S (pyengine/ir/hybrid_ops.py, chunk_factors).
   Inputs: y (T, WIDTH), a_log (NV), dt_bias (NV), state; output f (chunks, NV, 2 SIZE SIZE + 4 SIZE): the inverse of
   I + tril(beta k k exp(G_i - G_j), -1), p = tril(q k exp(G_i - G_j)), G, beta, 1 / |k|, 1 / (|q| sqrt(DK)).
   One workgroup of 256 per (value head, chunk); a thread makes 4 x 4 products of both matrices, and then one column of the
   inverse by forward substitution: columns do not depend on each other. Rows that are not valid count as zeros.
   Constants: NK, NV, DK, DV, SIZE (at most 64). #}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> a_log: array<f32>;
@group(0) @binding(2) var<storage, read> dt_bias: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> f: array<f32>;
{% set gates = true %}
{% include "common/delta.wgsl" %}
const DEPTH: u32 = 8u;  // columns of k and q staged at a time
const STRIDE: u32 = DEPTH + 1u;  // rows begin in different banks
var<workgroup> kt: array<f32, 64u * STRIDE>;
var<workgroup> qt: array<f32, 64u * STRIDE>;
var<workgroup> lower: array<f32, 2016>;  // rows 1 .. 63 of the strictly lower triangle
var<workgroup> total: array<f32, 64>;
var<workgroup> beta: array<f32, 64>;
var<workgroup> k_inverse: array<f32, 64>;
var<workgroup> q_inverse: array<f32, 64>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let h = group.x;
  let key_head = key_head_of(h);
  let row0 = group.y * SIZE;
  let n = state[1];
  if (state[2] != 0u || row0 >= n) { return; }
  let m = min(SIZE, n - row0);
  let at = (group.y * NV + h) * (2u * SIZE * SIZE + 4u * SIZE);
  if (tid < 64u) {
    var gate = 0.0;
    var rate = 0.0;
    var kk = 0.0;
    var qq = 0.0;
    if (tid < m) {
      let row = (row0 + tid) * WIDTH;
      gate = decay_of(row, h);
      rate = beta_of(row, h);
      for (var i = 0u; i < DK; i++) {
        let k = y[row + K0 + key_head * DK + i];
        let q = y[row + key_head * DK + i];
        kk += k * k;
        qq += q * q;
      }
    }
    total[tid] = gate;
    beta[tid] = rate;
    k_inverse[tid] = inverseSqrt(kk + 1e-6);
    q_inverse[tid] = inverseSqrt(qq + 1e-6) * inverseSqrt(f32(DK));
  }
  workgroupBarrier();
  if (tid == 0u) {
    for (var i = 1u; i < 64u; i++) { total[i] += total[i - 1u]; }
  }
  workgroupBarrier();
  let i0 = tid / 16u * 4u;
  let j0 = tid % 16u * 4u;
  var kk = array<vec4<f32>, 4>();
  var qk = array<vec4<f32>, 4>();
  for (var step = 0u; step < DK; step += DEPTH) {
    for (var i = tid; i < 64u * DEPTH; i += 256u) {
      let r = i / DEPTH;
      let d = step + i % DEPTH;
      var k = 0.0;
      var q = 0.0;
      if (r < m && d < DK) {
        k = y[(row0 + r) * WIDTH + K0 + key_head * DK + d];
        q = y[(row0 + r) * WIDTH + key_head * DK + d];
      }
      kt[r * STRIDE + i % DEPTH] = k;
      qt[r * STRIDE + i % DEPTH] = q;
    }
    workgroupBarrier();
    for (var d = 0u; d < DEPTH; d++) {
      let kj = vec4<f32>(kt[j0 * STRIDE + d], kt[(j0 + 1u) * STRIDE + d], kt[(j0 + 2u) * STRIDE + d], kt[(j0 + 3u) * STRIDE + d]);
      {% for r in range(4) %}
      kk[{{ r }}] += kt[(i0 + {{ r }}u) * STRIDE + d] * kj;
      qk[{{ r }}] += qt[(i0 + {{ r }}u) * STRIDE + d] * kj;
      {% endfor %}
    }
    workgroupBarrier();
  }
  {% for r in range(4) %}
  for (var e = 0u; e < 4u; e++) {
    let i = i0 + {{ r }}u;
    let j = j0 + e;
    let decay = exp(min(total[i] - total[j], 0.0)) * k_inverse[j];
    if (j < i) { lower[i * (i - 1u) / 2u + j] = kk[{{ r }}][e] * k_inverse[i] * decay * beta[i]; }
    if (i < m && j < m) {
      f[at + SIZE * SIZE + i * SIZE + j] = select(0.0, qk[{{ r }}][e] * q_inverse[i] * decay, j <= i);
    }
  }
  {% endfor %}
  workgroupBarrier();
  if (tid < m) {
    for (var i = 0u; i < m; i++) {
      var sum = select(0.0, 1.0, i == tid);
      for (var j = tid; j < i; j++) { sum -= lower[i * (i - 1u) / 2u + j] * f[at + j * SIZE + tid]; }
      f[at + i * SIZE + tid] = sum;
    }
    let tail = at + 2u * SIZE * SIZE + tid;
    f[tail] = total[tid];
    f[tail + SIZE] = beta[tid];
    f[tail + 2u * SIZE] = k_inverse[tid];
    f[tail + 3u * SIZE] = q_inverse[tid];
  }
}
