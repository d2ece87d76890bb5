{# Before sampling changes the logits: they are copied, and each workgroup finds the KEEP best of its CHUNK ids and the sum
   of exponentials. Inputs: logits (1, VOCAB), raw (1, VOCAB) and tops (PARTIALS, 2 + 2 KEEP) u32, both written, state.
   tops: highest logit, sum of exp(logit - highest), then (logit, id) in falling order; NO_ID where there is none.
   Constants: VOCAB, PARTIALS, KEEP. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> raw: array<f32>;
@group(0) @binding(2) var<storage, read_write> tops: array<u32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
{% include "common/sample.wgsl" %}
{% include "common/sample_best.wgsl" %}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  let begin = group.x * CHUNK + tid;
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  let base = group.x * (2u + 2u * KEEP);
  var last = Best(-NO_SCORE, 0u);
  var highest = 0.0;
  for (var rank = 0u; rank < KEEP; rank++) {
    var score = NO_SCORE;
    var id = NO_ID;
    for (var i = begin; i < end; i += THREADS) {
      let x = clean(logits[i]);
      if (rank == 0u) { raw[i] = x; }
      if (x > score && better(last.score, last.id, x, i)) { score = x; id = i; }
    }
    last = best_of_all(tid, score, id);
    if (rank == 0u) { highest = last.score; }
    if (tid == 0u) {
      tops[base + 2u + 2u * rank] = bitcast<u32>(last.score);
      tops[base + 3u + 2u * rank] = last.id;
    }
  }
  var sum = 0.0;
  for (var i = begin; i < end; i += THREADS) { sum += exp(clean(logits[i]) - highest); }
  workgroupBarrier();
  scores[tid] = sum;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) { scores[tid] += scores[tid + stride]; }
    workgroupBarrier();
  }
  if (tid == 0u) {
    tops[base] = bitcast<u32>(highest);
    tops[base + 1u] = bitcast<u32>(scores[0]);
  }
}
