{# Sums and maxima over the THREADS of a workgroup, or over runs of them; THREADS and runs are powers of two. Every thread must
   get here. `partial` is free again after the next barrier.
   subgroups: by their operations. A subgroup is some 4 to 128 threads, a power of two of consecutive ones: SUBGROUP of them at
   least (pyengine/selftest.py looks at both). Else by trees in workgroup memory. #}
var<workgroup> partial: array<f32, THREADS>;
{% for name, zero, operation, combine in (("sum", "0.0", "subgroupAdd", "%s + %s"), ("max", "-3.0e38", "subgroupMax", "max(%s, %s)")) %}

fn {{ name }}_all(tid: u32, value: f32) -> f32 {
  {% if subgroups %}
  let size = subgroupAdd(1u);
  let mine = {{ operation }}(value);
  if (tid % size == 0u) { partial[tid / size] = mine; }
  workgroupBarrier();
  var all = {{ zero }};
  for (var i = 0u; i * size < THREADS; i++) { all = {{ combine % ("all", "partial[i]") }}; }
  return all;
  {% else %}
  partial[tid] = value;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] = {{ combine % ("partial[tid]", "partial[tid + stride]") }}; }
    workgroupBarrier();
  }
  return partial[0];
  {% endif %}
}
{% endfor %}

// the sum over each run of `lanes` threads, in its first
fn sum_lanes(tid: u32, lanes: u32, value: f32) -> f32 {
  if (lanes == 1u) { return value; }
  {% if subgroups %}
  let size = subgroupAdd(1u);
  var sum = value;
  for (var offset = 1u; offset < lanes; offset *= 2u) {
    let other = subgroupShuffleXor(sum, offset);
    if (offset < size) { sum += other; }
  }
  if (lanes <= SUBGROUP) { return sum; }
  workgroupBarrier();
  if (tid % min(lanes, size) == 0u) { partial[tid] = sum; }
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < lanes; i += size) { sum += partial[tid / lanes * lanes + i]; }
  return sum;
  {% else %}
  workgroupBarrier();
  partial[tid] = value;
  workgroupBarrier();
  for (var stride = lanes / 2u; stride > 0u; stride /= 2u) {
    if (tid % lanes < stride) { partial[tid] += partial[tid + stride]; }
    workgroupBarrier();
  }
  return partial[tid];
  {% endif %}
}
