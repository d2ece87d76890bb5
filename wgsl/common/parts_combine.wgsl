{# Attention's output from its parts (pyengine/ir/split_ops.py). Needs `parts: array<vec4<f32>>` and common/parts.wgsl. #}
fn log_sum(part: u32, head: u32) -> f32 {
  let i = part * PARTS_ROW + HEADS * D + head;
  return parts[i / 4u][i % 4u];
}

// elements 4 i .. 4 i + 3 of the output of `count` parts; D is a multiple of 4
fn combined(i: u32, count: u32) -> vec4<f32> {
  let head = i / (D / 4u);
  var highest = log_sum(0u, head);
  var total = 1.0;
  var sum = parts[i];
  for (var part = 1u; part < count; part++) {
    let log_part = log_sum(part, head);
    let next = max(highest, log_part);
    let keep = exp(highest - next);
    let weight = exp(log_part - next);
    sum = sum * keep + weight * parts[part * (PARTS_ROW / 4u) + i];
    total = total * keep + weight;
    highest = next;
  }
  return sum / total;
}
