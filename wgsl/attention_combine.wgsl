{# Attention's output (1, HEADS D) from its parts, where no consumer takes them; gate: times the sigmoid of qkv's gate, whose
   rows begin with q and gate (D each) of every head.
   Inputs: parts, with gate qkv, state; output y. One thread per 4 outputs. Constants: HEADS, D, SPLITS, SPAN. #}
@group(0) @binding(0) var<storage, read_write> parts: array<vec4<f32>>;
{% if gate %}
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4<f32>>;
{% endif %}
@group(0) @binding({{ 2 if gate else 1 }}) var<storage, read> state: array<u32>;
@group(0) @binding({{ 3 if gate else 2 }}) var<storage, read_write> y: array<vec4<f32>>;
{% include "common/parts.wgsl" %}
{% include "common/parts_combine.wgsl" %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (state[2] != 0u || id.x >= HEADS * D / 4u) { return; }
  let length = state[0] + 1u;
  let span = span_of(length);
  let o = combined(id.x, (length + span - 1u) / span);
  {% if gate %}
  let quads = D / 4u;
  y[id.x] = o / (1.0 + exp(-qkv[(2u * (id.x / quads) + 1u) * quads + id.x % quads]));
  {% else %}
  y[id.x] = o;
  {% endif %}
}
