{# Adds up what the SPLIT groups of threads of a workgroup have in sum0.. (RM of them): group i gets row i of all as `total`, the
   groups beyond end. `staged` is overwritten. #}
  {% for i in range(rm) %}
  staged[(part * RM + {{ i }}u) * GROUP_THREADS + local] = sum{{ i }};
  {% endfor %}
  workgroupBarrier();
  if (part >= RM) { return; }
  var total = vec4<f32>(0.0);
  for (var s = 0u; s < SPLIT; s++) { total += staged[(s * RM + part) * GROUP_THREADS + local]; }
