{# Of each of SLABS runs of rows of x: count, mean, sum of squared differences from it (pyengine/ir/audio_ops.py).
   Inputs: x (T, C), state; output stats (SLABS, 4). One workgroup of 64 per run, which reads it twice: the second time its
   mean is known. Constants: C, SLABS. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;
const THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let n = state[1];
  if (state[2] != 0u) { return; }
  let size = (n + SLABS - 1u) / SLABS;
  let begin = min(group.x * size, n) * C;
  let end = min((group.x + 1u) * size, n) * C;
  let count = f32(end - begin);
  var sum = 0.0;
  for (var i = begin + tid; i < end; i += THREADS) { sum += x[i]; }
  let mean = sum_all(tid, sum) / max(count, 1.0);
  workgroupBarrier();
  sum = 0.0;
  for (var i = begin + tid; i < end; i += THREADS) { let far = x[i] - mean; sum += far * far; }
  let squares = sum_all(tid, sum);
  if (tid == 0u) {
    stats[4u * group.x] = count;
    stats[4u * group.x + 1u] = mean;
    stats[4u * group.x + 2u] = squares;
    stats[4u * group.x + 3u] = 0.0;
  }
}
