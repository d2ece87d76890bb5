{# Attention's output from its parts (pyengine/ir/split_ops.py). Needs `parts: array<vec4<f32>>` and common/parts.wgsl. #}
fn log_sum(part: u32, head: u32) -> f32 {
  let i = part * PARTS_ROW + HEADS * D + head;
  return parts[i / 4u][i % 4u];
}

// elements 4 i .. 4 i + 3 of the output of `count` parts; D is a multiple of 4. Four parts at a time, so that their loads overlap.
fn combined(i: u32, count: u32) -> vec4<f32> {
  let head = i / (D / 4u);
  var highest = log_sum(0u, head);
  for (var part = 0u; part < count; part += 4u) {
    let a = log_sum(part, head);
    let b = log_sum(min(part + 1u, count - 1u), head);
    let c = log_sum(min(part + 2u, count - 1u), head);
    let d = log_sum(min(part + 3u, count - 1u), head);
    highest = max(highest, max(max(a, b), max(c, d)));
  }
  var total = 0.0;
  var sum = vec4<f32>(0.0);
  for (var part = 0u; part < count; part += 4u) {
    {% for j in range(4) %}
    let at{{ j }} = min(part + {{ j }}u, count - 1u);
    let weight{{ j }} = select(0.0, exp(log_sum(at{{ j }}, head) - highest), part + {{ j }}u < count);
    let value{{ j }} = parts[at{{ j }} * (PARTS_ROW / 4u) + i];
    {% endfor %}
    sum += weight0 * value0 + weight1 * value1 + weight2 * value2 + weight3 * value3;
    total += weight0 + weight1 + weight2 + weight3;
  }
  return sum / total;
}
