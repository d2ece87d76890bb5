{# y = gain (x - mean) / sqrt(variance + eps) + bias, over all rows and channels (pyengine/ir/audio_ops.py).
   Inputs: x (T, C), stats (SLABS, 4), gain (C), bias (C), state; output y (T, C). One workgroup of 64 per row, each of which
   merges the SLABS (at most 64) statistics. Constants: C, SLABS, EPS. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> state: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
var<workgroup> partial: array<vec2<f32>, 64>;

fn total(tid: u32, value: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  partial[tid] = value;
  workgroupBarrier();
  for (var stride = 32u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(64)
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
  let sums = total(tid, vec2<f32>(count, count * mean));
  let whole = sums.y / sums.x;
  let far = mean - whole;
  let variance = total(tid, vec2<f32>(squares + count * far * far, 0.0)).x / sums.x;
  let inverse = inverseSqrt(variance + EPS);
  for (var c = tid; c < C; c += 64u) { y[t * C + c] = (x[t * C + c] - whole) * inverse * gain[c] + bias[c]; }
}
