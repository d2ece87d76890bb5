{# Sampled, 3 of 6: the bin of high halves where top-k ends, and counts by low half inside it.
   Nothing without top-k. Inputs: logits (1, VOCAB), scratch written, state. Every workgroup finds
   the bin, then counts its CHUNK ids. Constants: VOCAB, PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> scratch: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
{% set search = true %}
{% include "common/sample.wgsl" %}
{% include "common/sample_filter.wgsl" %}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let scale = bitcast<f32>(state[S_KEY_SCALE]);
  let top_k = state[S_TOP_K];
  if (state[S_STOPPED] != 0u || scale == 0.0 || top_k == 0u || top_k >= VOCAB) { return; }
  for (var j = 0u; j < MINE; j++) {
    mine[j] = vec2<u32>(atomicLoad(&scratch[COUNT + tid * MINE + j]), 0u);
  }
  find(tid, vec2<u32>(top_k, 0u));
  let bin = found_bin;
  if (group.x == 0u && tid == 0u) {
    atomicStore(&scratch[SEL_K_BIN], bin);
    atomicStore(&scratch[SEL_K_BEFORE], found_before.x);
  }
  let top = bitcast<f32>(atomicLoad(&scratch[SEL_TOP]));
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let key = key_of(top, logits[i], scale);
    if (key >> LOW_BITS == bin) { atomicAdd(&scratch[K_COUNT + (key & (BINS - 1u))], 1u); }
  }
}
