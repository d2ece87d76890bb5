{# Codes (frames, GROUPS) -> the four digits of each in -1 .. 1 (pyengine/ir/codec_ops.py). One thread per code.
   Constants: GROUPS, L0 .. L3 (levels). #}
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> z: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (state[2] != 0u || id.x >= state[1] * GROUPS) { return; }
  let levels = vec4<u32>(L0, L1, L2, L3);
  let digits = vec4<u32>(codes[id.x]) / vec4<u32>(1u, L0, L0 * L1, L0 * L1 * L2) % levels;
  let half = vec4<f32>(levels / 2u);
  z[id.x] = (vec4<f32>(digits) - half) / half;
}
