{# y = (gain + SHIFT) * x / sqrt(mean(x^2) + eps), per row (Zhang and Sennrich 2019); residual: added to that one.
   Inputs: x (T, K), gain (K), [residual (T, K)], state; output y (T, K). One workgroup of 64 per row.
   Constants: MANY (more than one row), K, EPS, SHIFT. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
{% if residual %}
@group(0) @binding(2) var<storage, read_write> residual: array<f32>;
{% endif %}
@group(0) @binding({{ 3 if residual else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 4 if residual else 3 }}) var<storage, read_write> y: array<f32>;
const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let t = group.x;
  if (state[2] != 0u || (MANY && t >= state[1])) { return; }
  var sum = 0.0;
  for (var k = tid; k < K; k += THREADS) { let value = x[t * K + k]; sum += value * value; }
  let inverse = inverseSqrt(sum_all(tid, sum) / f32(K) + EPS);
  for (var k = tid; k < K; k += THREADS) {
    y[t * K + k] = {{ "residual[t * K + k] + " if residual }}x[t * K + k] * inverse * (gain[k] + SHIFT);
  }
}
