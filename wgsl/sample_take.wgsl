{# Greedy, second half: the best of the workgroups' picks, then the end of the step. One workgroup.
   Inputs: picks (PARTIALS, 2) u32, ring (RING) u32, tokens u32, state; the last three are written.
   Constants: VOCAB, PARTIALS (at most 64), RING. #}
@group(0) @binding(0) var<storage, read_write> picks: array<u32>;
@group(0) @binding(1) var<storage, read_write> ring: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;
{% include "common/sample.wgsl" %}
{% include "common/sample_finish.wgsl" %}

var<workgroup> stopped: u32;
var<workgroup> scores: array<f32, 64>;
var<workgroup> ids: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) tid: u32) {
  if (tid == 0u) { stopped = state[S_STOPPED]; }
  if (workgroupUniformLoad(&stopped) != 0u) { return; }
  scores[tid] = NO_SCORE;
  ids[tid] = NO_ID;
  if (tid < PARTIALS) {
    scores[tid] = bitcast<f32>(picks[2u * tid]);
    ids[tid] = picks[2u * tid + 1u];
  }
  workgroupBarrier();
  for (var stride = 32u; stride > 0u; stride /= 2u) {
    if (tid < stride && better(scores[tid + stride], ids[tid + stride], scores[tid], ids[tid])) {
      scores[tid] = scores[tid + stride];
      ids[tid] = ids[tid + stride];
    }
    workgroupBarrier();
  }
  if (tid == 0u) { finish(ids[0]); }
}
