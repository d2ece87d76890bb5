{# Short causal depthwise convolutions (pyengine/ir/hybrid_ops.py). One thread per channel walks the rows, so that it alone reads
   and writes its channel of the ring, and rows can be replaced in place.
   short_conv: x (T, WIDTH), columns 0 .. C become silu(conv), in place. gated_conv: bcx (T, 3 C) -> y = c * conv(b * x) (T, C).
   Inputs: x, taps (C, TAPS), ring (TAPS, C) with the input of position p in slot p % TAPS, state.
   Constants: MANY (more than one row), C, TAPS, WIDTH, LOT (rows read before the first of them is written). #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> taps: array<f32>;
@group(0) @binding(2) var<storage, read_write> ring: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
{% if op == "gated_conv" %}
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
{% endif %}
const PAST: u32 = TAPS - 1u;

fn input(t: u32, c: u32) -> f32 {
  {% if op == "gated_conv" %}
  return x[t * WIDTH + c] * x[t * WIDTH + 2u * C + c];
  {% else %}
  return x[t * WIDTH + c];
  {% endif %}
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (state[2] != 0u || c >= C) { return; }
  let n = select(1u, state[1], MANY);
  let pos = state[0];
  var w: array<f32, TAPS>;
  var u: array<f32, PAST + LOT>;  // PAST inputs before row t, then LOT rows
  for (var i = 0u; i < TAPS; i++) { w[i] = taps[c * TAPS + i]; }
  for (var i = 0u; i < PAST; i++) {
    let back = PAST - i;
    u[i] = 0.0;
    if (pos >= back) { u[i] = ring[(pos - back) % TAPS * C + c]; }
  }
  for (var t = 0u; t < n; t += LOT) {
    for (var j = 0u; j < LOT; j++) { u[PAST + j] = input(min(t + j, n - 1u), c); }
    for (var j = 0u; j < LOT; j++) {
      if (t + j >= n) { break; }
      var sum = 0.0;
      for (var i = 0u; i < TAPS; i++) { sum += w[i] * u[j + i]; }
      {% if op == "gated_conv" %}
      y[(t + j) * C + c] = sum * x[(t + j) * WIDTH + C + c];
      {% else %}
      x[(t + j) * WIDTH + c] = sum / (1.0 + exp(-sum));
      {% endif %}
      if (t + j + TAPS >= n) { ring[(pos + t + j) % TAPS * C + c] = u[PAST + j]; }
    }
    for (var i = 0u; i < PAST; i++) { u[i] = u[LOT + i]; }
  }
}
