{# Transposed convolution of half_snake(x) with stride R, 2 R taps and two inputs an output, its last R rows dropped
   (pyengine/ir/codec_ops.py). Inputs: x (rows, IN4 vec4), alpha, kernel (C, W), offsets, past (2, 1, IN4), state;
   output y (rows * R, OUT4 vec4). One thread per row of x and vec4 of outputs.
   Constants: C, IN4, OUT4, R, W (words of a kernel row), RATE (rows of x a frame), SNAKE. #}
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> alpha: array<f32>;
@group(0) @binding(2) var<storage, read> kernel: array<f32>;
@group(0) @binding(3) var<storage, read> offsets: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> past: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> state: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
{% include "common/snake.wgsl" %}

// vec4 c of row m - 1 (back 1) or m
fn input(m: u32, back: u32, c: u32) -> vec4<f32> {
  if (c >= IN4) { return vec4<f32>(0.0); }
  var found: vec4<f32>;
  if (m >= back) { found = x[(m - back) * IN4 + c]; }
  else if (state[0] > 0u) { found = past[(state[3] & 1u) * IN4 + c]; }
  return half_snake(found, 4u * c);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = state[1] * RATE;
  if (state[2] != 0u) { return; }
  if (id.x < IN4) { past[(1u - (state[3] & 1u)) * IN4 + id.x] = x[(n - 1u) * IN4 + id.x]; }
  let m = id.x / OUT4;
  let o4 = id.x % OUT4;
  if (m >= n) { return; }
  // eight inputs of four outputs, of this row and of the one before
  let a = array<vec4<f32>, 2>(input(m, 0u, 2u * o4), input(m, 0u, 2u * o4 + 1u));
  let b = array<vec4<f32>, 2>(input(m, 1u, 2u * o4), input(m, 1u, 2u * o4 + 1u));
  for (var j = 0u; j < R; j++) {
    var sum = offsets[o4];
    {% for o in range(4) %}
    {
      let c = 8u * o4 + {{ 2 * o }}u;
      if (c < C) {
        let w = c * W + j;
        sum.{{ "xyzw"[o] }} += a[{{ o // 2 }}].{{ "xz"[o % 2] }} * kernel[w] + a[{{ o // 2 }}].{{ "yw"[o % 2] }} * kernel[w + W]
          + (b[{{ o // 2 }}].{{ "xz"[o % 2] }} * kernel[w + R] + b[{{ o // 2 }}].{{ "yw"[o % 2] }} * kernel[w + W + R]);
      } else {
        sum.{{ "xyzw"[o] }} = 0.0;
      }
    }
    {% endfor %}
    y[(m * R + j) * OUT4 + o4] = sum;
  }
}
