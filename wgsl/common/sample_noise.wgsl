{# Gumbel noise of (seed, position, id) and the score that a draw maximises; see sample_math.py.
   Needs common/sample.wgsl. #}
fn mix(value: u32) -> u32 {
  var x = value;
  x = (x ^ (x >> 16u)) * 0x7feb352du;
  x = (x ^ (x >> 15u)) * 0x846ca68bu;
  return x ^ (x >> 16u);
}

fn noise_keys(seed: u32, position: u32) -> vec2<u32> {
  let first = mix(position ^ mix(seed ^ 0x9e3779b9u));
  return vec2<u32>(first, mix(mix(seed ^ first) ^ 0x85ebca6bu));
}

// -log(1 - v), accurate where v is small: those draws win, and log near 1 may be 2^-21 off
fn exponential(v: f32) -> f32 {
  if (v >= 0.25) { return -log(1.0 - v); }
  let s = v / (2.0 - v);
  let t = s * s;
  return 2.0 * s * (1.0 + t * (1.0 / 3.0 + t * (0.2 + t * (1.0 / 7.0 + t * (1.0 / 9.0)))));
}

fn gumbel(keys: vec2<u32>, id: u32) -> f32 {
  let h = mix(mix(id ^ keys.x) ^ keys.y);
  let v = min((f32(h) + 0.5) * 2.3283064365386963e-10, 0.999999940395355);
  return -log(exponential(v));
}

// scale 0: temperature 0, no noise
fn score_of(top: f32, x: f32, scale: f32, keys: vec2<u32>, id: u32) -> f32 {
  let distance = distance_to(top, x);
  if (scale == 0.0) { return -distance; }
  return gumbel(keys, id) - distance * scale * 7.62939453125e-6;
}
