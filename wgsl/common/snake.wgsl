{# HalfSnake (pyengine/ir/codec_ops.py) of four channels. Needs `alpha: array<f32>` and the constant SNAKE, how many of them.
   sin(u)^2 has period pi, so its argument is brought to -pi/2 .. pi/2 in three steps whose first products are exact; WGSL's own
   sin may be off by 2^-11, and by more for large arguments. #}
fn sin_squared(u: vec4<f32>) -> vec4<f32> {
  let k = round(u * 0.3183098861837907);
  let r = ((u - k * 3.140625) - k * 9.67502593994140625e-4) - k * 1.509957990978376432e-7;
  let q = r * r;
  let tail = q * (-0.16666666666666666 + q * (0.008333333333333333 + q * (-1.984126984126984e-4
    + q * (2.7557319223985893e-6 - q * 2.505210838544172e-8))));
  let s = r + r * tail;
  return s * s;
}

// channels c .. c + 3
fn half_snake(x: vec4<f32>, c: u32) -> vec4<f32> {
  let leaky = max(x, 0.01 * x);
  if (c >= SNAKE) { return leaky; }
  let last = SNAKE - 1u;
  let a = vec4<f32>(alpha[c], alpha[min(c + 1u, last)], alpha[min(c + 2u, last)], alpha[min(c + 3u, last)]);
  let snake = x + sin_squared(a * x) / (a + 1e-9);
  return select(leaky, snake, vec4<u32>(c, c + 1u, c + 2u, c + 3u) < vec4<u32>(SNAKE));
}
