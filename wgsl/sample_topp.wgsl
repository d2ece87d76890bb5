{# Sampled, 4 of 6: the exact end of top-k; then, of the mass that top-k kept, the bin of high
   halves where top-p ends, and counts by low half inside it. Inputs: logits (1, VOCAB), scratch
   written, state. Every workgroup finds both ends, then counts its CHUNK ids. Constants: VOCAB,
   PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> scratch: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
{% set search = true %}
{% include "common/sample.wgsl" %}
{% include "common/sample_filter.wgsl" %}

fn bin_mass(bin: u32) -> vec2<u32> {
  return vec2<u32>(atomicLoad(&scratch[MASS_LOW + bin]), atomicLoad(&scratch[MASS_HIGH + bin]));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let scale = bitcast<f32>(state[S_KEY_SCALE]);
  let top_k = state[S_TOP_K];
  let top_p = state[S_TOP_P_Q32];
  let by_count = top_k > 0u && top_k < VOCAB;
  if (state[S_STOPPED] != 0u || scale == 0.0 || !(by_count || top_p != 0u)) { return; }
  var k_bin = BINS;  // without top-k all bins are kept whole
  var k_low = 0u;
  var k_ties = 0u;
  if (by_count) {
    k_bin = atomicLoad(&scratch[SEL_K_BIN]);
    for (var j = 0u; j < MINE; j++) {
      mine[j] = vec2<u32>(atomicLoad(&scratch[K_COUNT + tid * MINE + j]), 0u);
    }
    let wanted = top_k - atomicLoad(&scratch[SEL_K_BEFORE]);
    find(tid, vec2<u32>(wanted, 0u));
    k_low = found_bin;
    k_ties = wanted - found_before.x;
    if (group.x == 0u && tid == 0u) {
      atomicStore(&scratch[SEL_K_KEY], (k_bin << LOW_BITS) | k_low);
      atomicStore(&scratch[SEL_K_TIES], k_ties);
    }
  }
  if (top_p == 0u) { return; }
  var kept = vec2<u32>(0u);
  for (var j = 0u; j < MINE; j++) {
    let bin = tid * MINE + j;
    mine[j] = bin_mass(bin);
    if (bin < k_bin) { kept = add64(kept, mine[j]); }
    if (by_count && bin <= k_low) {
      let ids = select(k_ties, atomicLoad(&scratch[K_COUNT + bin]), bin < k_low);
      kept = add64(kept, mul64(ids, mass((k_bin << LOW_BITS) | bin)));
    }
  }
  _ = scan64(tid, kept);
  let total = sums[THREADS - 1u];
  // ceil(total * top_p / 2^32), at least 1
  let low = mul64(total.x, top_p);
  var wanted = add64(mul64(total.y, top_p), vec2<u32>(low.y, 0u));
  if (low.x != 0u) { wanted = add64(wanted, vec2<u32>(1u, 0u)); }
  if (wanted.x == 0u && wanted.y == 0u) { wanted = vec2<u32>(1u, 0u); }
  find(tid, wanted);
  let p_bin = found_bin;
  if (group.x == 0u && tid == 0u) {
    let need = sub64(wanted, found_before);
    atomicStore(&scratch[SEL_P_BIN], p_bin);
    atomicStore(&scratch[SEL_P_NEED], need.x);
    atomicStore(&scratch[SEL_P_NEED + 1u], need.y);
  }
  let top = bitcast<f32>(atomicLoad(&scratch[SEL_TOP]));
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let key = key_of(top, logits[i], scale);
    if (key >> LOW_BITS == p_bin) { atomicAdd(&scratch[P_COUNT + (key & (BINS - 1u))], 1u); }
  }
}
