{# y = gain (x - mean) / sqrt(variance + eps) + bias, over all rows and channels (pyengine/ir/audio_ops.py).
   Inputs: x (T, C), stats (SLABS, 4), gain (C), bias (C), state; output y (T, C). One workgroup of 64 per row, each of which
   merges the SLABS (at most 64) statistics. Constants: C, SLABS, EPS. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> state: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let t = group.x;
  if (state[2] != 0u || t >= state[1]) { return; }
  var count = 0.0;
  var mean = 0.0;
  var squares = 0.0;
  if (tid < SLABS) {
    count = stats[4u * tid];
    mean = stats[4u * tid + 1u];
    squares = stats[4u * tid + 2u];
  }
  let all = sum_all(tid, count);
  workgroupBarrier();
  let whole = sum_all(tid, count * mean) / all;
  workgroupBarrier();
  let far = mean - whole;
  let variance = sum_all(tid, squares + count * far * far) / all;
  let inverse = inverseSqrt(variance + EPS);
  for (var c = tid; c < C; c += THREADS) { y[t * C + c] = (x[t * C + c] - whole) * inverse * gain[c] + bias[c]; }
}
