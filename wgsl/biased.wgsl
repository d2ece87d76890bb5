{# A bias and what follows it (pyengine/ir/audio_ops.py). bias_gelu: z = GELU(x + bias), with erf; bias_add: z = residual + x + bias;
   bias_silu_mul: z = silu(gate) up, where up and gate are the halves of x + bias. One thread per output element.
   Inputs: x, bias, [residual], state; output z (T, WIDTH). Constants: MANY (more than one row), WIDTH. #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
{% if op == "bias_add" %}
@group(0) @binding(2) var<storage, read_write> residual: array<f32>;
{% endif %}
@group(0) @binding({{ 3 if op == "bias_add" else 2 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 4 if op == "bias_add" else 3 }}) var<storage, read_write> z: array<f32>;

{% if op == "bias_gelu" %}
// Abramowitz and Stegun 7.1.26, within 1.5e-7
fn erf(v: f32) -> f32 {
  let a = abs(v);
  let k = 1.0 / (1.0 + 0.3275911 * a);
  let tail = k * (0.254829592 + k * (-0.284496736 + k * (1.421413741 + k * (-1.453152027 + k * 1.061405429))));
  return sign(v) * (1.0 - tail * exp(-a * a));
}
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  let t = id.y;
  if (state[2] != 0u || i >= WIDTH || (MANY && t >= state[1])) { return; }
  {% if op == "bias_gelu" %}
  let v = x[t * WIDTH + i] + bias[i];
  z[t * WIDTH + i] = 0.5 * v * (1.0 + erf(v * 0.7071067811865476));
  {% elif op == "bias_add" %}
  z[t * WIDTH + i] = residual[t * WIDTH + i] + (x[t * WIDTH + i] + bias[i]);
  {% else %}
  let up = x[t * 2u * WIDTH + i] + bias[i];
  let gate = x[t * 2u * WIDTH + WIDTH + i] + bias[WIDTH + i];
  z[t * WIDTH + i] = gate / (1.0 + exp(-gate)) * up;
  {% endif %}
}
