{# What each row of a convolution sees of x, a channel's taps side by side (pyengine/ir/audio_ops.py).
   Inputs: x (T, CHANNELS), state; output y (rows, WIDTH), WIDTH = CHANNELS KERNEL. One thread per element.
   Constants: WIDTH, CHANNELS, KERNEL, STRIDE. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  let t = id.y;
  if (state[2] != 0u || i >= WIDTH || t >= state[1]) { return; }
  y[t * WIDTH + i] = x[(t * STRIDE + i % KERNEL) * CHANNELS + i / KERNEL];
}
