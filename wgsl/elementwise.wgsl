{# add: z = x + y. silu_mul: z = silu(gate) * up with gate, up the halves of each row (SwiGLU); gelu_mul: GELU's tanh form.
   tanh: z = tanh(x). take_last: z = row n - 1 of x. One thread per output element of the rows, WIDTH columns (MANY: more than one row). #}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
{% if op == "add" %}
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
{% endif %}
@group(0) @binding({{ 2 if op == "add" else 1 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 3 if op == "add" else 2 }}) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  let t = id.y;
  if (state[2] != 0u || i >= WIDTH || (MANY && t >= state[1])) { return; }
  {% if op == "add" %}
  z[t * WIDTH + i] = x[t * WIDTH + i] + y[t * WIDTH + i];
  {% elif op == "silu_mul" %}
  let gate = x[t * 2u * WIDTH + i];
  z[t * WIDTH + i] = gate / (1.0 + exp(-gate)) * x[t * 2u * WIDTH + WIDTH + i];
  {% elif op == "gelu_mul" %}
  let gate = x[t * 2u * WIDTH + i];
  let u = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate);
  z[t * WIDTH + i] = gate / (1.0 + exp(-2.0 * u)) * x[t * 2u * WIDTH + WIDTH + i];
  {% elif op == "tanh" %}
  z[t * WIDTH + i] = tanh(clamp(x[t * WIDTH + i], -20.0, 20.0));  // some devices overflow further out
  {% else %}
  z[i] = x[(max(state[1], 1u) - 1u) * WIDTH + i];
  {% endif %}
}
