{# kernel = gain * kernel / its length, in place, unit by unit (pyengine/ir/codec_ops.py): once after loading.
   One thread per unit, whose COUNT elements lie STEP apart from unit * UNIT on. Constants: UNITS, UNIT, COUNT, STEP. #}
@group(0) @binding(0) var<storage, read_write> kernel: array<f32>;
@group(0) @binding(1) var<storage, read> gains: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let unit = id.x;
  if (state[2] != 0u || unit >= UNITS) { return; }
  var sums = vec4<f32>(0.0);  // four chains, so that long kernels round less
  for (var e = 0u; e < COUNT; e++) {
    let value = kernel[unit * UNIT + e * STEP];
    sums[e % 4u] += value * value;
  }
  let scale = gains[unit] / sqrt(sums.x + sums.y + sums.z + sums.w);
  for (var e = 0u; e < COUNT; e++) { kernel[unit * UNIT + e * STEP] *= scale; }
}
