{# N of the state becomes the rows that a convolution makes of N (pyengine/ir/audio_ops.py). One thread.
   Constants: KERNEL, STRIDE. #}
@group(0) @binding(0) var<storage, read_write> state: array<u32>;

@compute @workgroup_size(1)
fn main() {
  if (state[2] != 0u) { return; }
  let n = state[1];
  state[1] = select(0u, (max(n, KERNEL) - KERNEL) / STRIDE + 1u, n >= KERNEL);
}
