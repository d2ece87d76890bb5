{# A speaker's vector, made as wide as the model, in the rows of its token (pyengine/ir/voice_ops.py).
   Inputs: x (T, H) written, ids (T), speaker (1, D), weight (H, D) in rows of ROW, state. One thread per (row, element).
   Constants: MANY (more than one row), H, D, ROW, TOKEN. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> speaker: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> state: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let t = id.y;
  if (state[2] != 0u || id.x >= H || (MANY && t >= state[1]) || ids[t] != TOKEN) { return; }
  var sum = 0.0;
  for (var i = 0u; i < D; i++) { sum += weight[id.x * ROW + i] * speaker[i]; }
  x[t * H + id.x] = sum;
}
