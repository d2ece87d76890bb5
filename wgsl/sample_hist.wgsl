{# Sampled, 2 of 6: the maximum, then counts (for top-k) and masses (for top-p) by the high half of
   the key. Inputs: logits (1, VOCAB), tops (PARTIALS) f32, scratch written, state. Workgroup: CHUNK
   consecutive ids; integer atomics, so the order of workgroups does not show. Constants: VOCAB,
   PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> tops: array<f32>;
@group(0) @binding(2) var<storage, read_write> scratch: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
{% set search = false %}
{% include "common/sample.wgsl" %}
{% include "common/sample_filter.wgsl" %}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  var top = -LOGIT_LIMIT;
  for (var p = 0u; p < PARTIALS; p++) { top = max(top, tops[p]); }
  if (group.x == 0u && tid == 0u) { atomicStore(&scratch[SEL_TOP], bitcast<u32>(top)); }
  let scale = bitcast<f32>(state[S_KEY_SCALE]);
  let by_count = state[S_TOP_K] > 0u && state[S_TOP_K] < VOCAB;
  let by_mass = state[S_TOP_P_Q32] != 0u;
  if (scale == 0.0 || !(by_count || by_mass)) { return; }
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let key = key_of(top, logits[i], scale);
    let bin = key >> LOW_BITS;
    if (by_count) { atomicAdd(&scratch[COUNT + bin], 1u); }
    let m = mass(key);
    if (by_mass && m != 0u) {
      let before = atomicAdd(&scratch[MASS_LOW + bin], m);
      if (before + m < m) { atomicAdd(&scratch[MASS_HIGH + bin], 1u); }
    }
  }
}
