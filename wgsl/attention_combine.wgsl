{# Attention's output (1, HEADS D) from its parts, where no consumer takes them.
   Inputs: parts, state; output y. One thread per 4 outputs. Constants: HEADS, D, SPLITS, SPAN, CONTEXT. #}
@group(0) @binding(0) var<storage, read_write> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
{% include "common/parts.wgsl" %}
{% include "common/parts_combine.wgsl" %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (state[2] != 0u || id.x >= HEADS * D / 4u) { return; }
  let length = state[0] + 1u;
  let span = span_of(length);
  y[id.x] = combined(id.x, (length + span - 1u) / span);
}
