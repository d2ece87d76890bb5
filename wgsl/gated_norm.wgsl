{# out = gain * o / rms(o) * silu(z), per head: the end of a gated delta rule.
   Inputs: o (T, HEADS D), y (T, WIDTH) with z in its columns from COL, gain (D), state; output (T, HEADS D).
   One workgroup of 64 per (head, row). Constants: MANY (more than one row), HEADS, D, WIDTH, COL, EPS. #}
@group(0) @binding(0) var<storage, read_write> o: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> normed: array<f32>;
var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let t = group.y;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  let base = (t * HEADS + group.x) * D;
  var sum = 0.0;
  for (var i = tid; i < D; i += 64u) { sum += o[base + i] * o[base + i]; }
  partial[tid] = sum;
  workgroupBarrier();
  for (var stride = 32u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  let inverse = inverseSqrt(partial[0] / f32(D) + EPS);
  for (var i = tid; i < D; i += 64u) {
    let z = y[t * WIDTH + COL + group.x * D + i];
    normed[base + i] = o[base + i] * inverse * gain[i] * z / (1.0 + exp(-z));
  }
}
