{# y = gain (x - mean) / sqrt(variance + eps), per row (Ba et al. 2016).
   Inputs: x (T, K), gain (K), state; output y (T, K). One workgroup of 64 per row. Constants: MANY (more than one row), K, EPS. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let t = group.x;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  var sum = 0.0;
  for (var k = tid; k < K; k += THREADS) { sum += x[t * K + k]; }
  let mean = sum_all(tid, sum) / f32(K);
  workgroupBarrier();
  sum = 0.0;
  for (var k = tid; k < K; k += THREADS) { let far = x[t * K + k] - mean; sum += far * far; }
  let inverse = inverseSqrt(sum_all(tid, sum) / f32(K) + EPS);
  for (var k = tid; k < K; k += THREADS) { y[t * K + k] = (x[t * K + k] - mean) * inverse * gain[k]; }
}
