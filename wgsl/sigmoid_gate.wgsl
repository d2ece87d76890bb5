{# gated = o * sigmoid(gate): the end of a gated attention. qkv's rows begin with q and gate (D each) of every head.
   Inputs: o (T, WIDTH), qkv (T, QKV), state; output (T, WIDTH). One thread per element.
   Constants: MANY (more than one row), WIDTH, QKV, D. #}
@group(0) @binding(0) var<storage, read_write> o: array<f32>;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> gated: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  let t = id.y;
  if (state[2] != 0u || i >= WIDTH || (MANY && t >= state[1])) { return; }
  let gate = qkv[t * QKV + (2u * (i / D) + 1u) * D + i % D];
  gated[t * WIDTH + i] = o[t * WIDTH + i] / (1.0 + exp(-gate));
}
