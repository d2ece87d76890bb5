{# Greedy, first half: the best (logit, id) of each workgroup's CHUNK ids, ties by lowest id.
   Inputs: logits (1, VOCAB), state; output picks (PARTIALS, 2) u32: logit bits, id. Constants:
   VOCAB, PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> picks: array<u32>;
{% include "common/sample.wgsl" %}
{% include "common/sample_best.wgsl" %}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  var score = NO_SCORE;
  var id = NO_ID;
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let x = clean(logits[i]);
    if (x > score) { score = x; id = i; }
  }
  let best = best_of_all(tid, score, id);
  if (tid == 0u) {
    picks[2u * group.x] = bitcast<u32>(best.score);
    picks[2u * group.x + 1u] = best.id;
  }
}
