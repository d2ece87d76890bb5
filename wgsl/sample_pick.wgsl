{# Sampled, 5 of 6: the last kept key of all filters, then each workgroup's best score before that
   key and at it. Inputs: logits (1, VOCAB), scratch written, state; output picks (PARTIALS, 5) u32:
   score bits and id of the best id before the last key, the same among all its ids at that key, and
   how many those are. Which of those are kept (the lowest SEL_TIES ids of all) is known only when
   all workgroups have counted: sample_finish decides. Constants: VOCAB, PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> scratch: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> picks: array<u32>;
{% set search = true %}
{% include "common/sample.wgsl" %}
{% include "common/sample_filter.wgsl" %}
{% include "common/sample_noise.wgsl" %}
var<workgroup> scores: array<vec2<f32>, THREADS>;   // before the last key, at it
var<workgroup> ids: array<vec2<u32>, THREADS>;
var<workgroup> ties: array<u32, THREADS>;

// the smaller of two ends (key, ids kept of that key)
fn earlier(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, b.x < a.x || (b.x == a.x && b.y < a.y));
}

// the fewest ids of mass m that reach `need`; at most `limit`
fn ids_for(need: vec2<u32>, m: u32, limit: u32) -> u32 {
  var low = 1u;
  var high = limit;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (less64(mul64(middle, m), need)) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}

fn top_p_end(tid: u32) -> vec2<u32> {
  let bin = atomicLoad(&scratch[SEL_P_BIN]);
  let need = vec2<u32>(atomicLoad(&scratch[SEL_P_NEED]), atomicLoad(&scratch[SEL_P_NEED + 1u]));
  for (var j = 0u; j < MINE; j++) {
    let low = tid * MINE + j;
    mine[j] = mul64(atomicLoad(&scratch[P_COUNT + low]), mass((bin << LOW_BITS) | low));
  }
  find(tid, need);
  let key = (bin << LOW_BITS) | found_bin;
  let count = atomicLoad(&scratch[P_COUNT + found_bin]);
  return vec2<u32>(key, ids_for(sub64(need, found_before), mass(key), count));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  let scale = bitcast<f32>(state[S_KEY_SCALE]);
  var last = vec2<u32>(MAX_KEY, ALL);
  if (scale != 0.0) {
    last.x = state[S_MIN_P_KEY];
    if (state[S_TOP_K] > 0u && state[S_TOP_K] < VOCAB) {
      let k_ties = atomicLoad(&scratch[SEL_K_TIES]);
      last = earlier(last, vec2<u32>(atomicLoad(&scratch[SEL_K_KEY]), k_ties));
    }
    if (state[S_TOP_P_Q32] != 0u) { last = earlier(last, top_p_end(tid)); }
  }
  if (group.x == 0u && tid == 0u) {
    atomicStore(&scratch[SEL_KEY], last.x);
    atomicStore(&scratch[SEL_TIES], last.y);
  }
  let top = bitcast<f32>(atomicLoad(&scratch[SEL_TOP]));
  let noise = noise_keys(state[S_SEED], state[S_POS] + state[S_N]);
  var score = vec2<f32>(NO_SCORE);
  var id = vec2<u32>(NO_ID);
  var count = 0u;
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let key = key_of(top, logits[i], scale);
    if (key > last.x) { continue; }
    let value = score_of(top, logits[i], scale, noise, i);
    if (key == last.x) {
      count += 1u;
      if (value > score.y) { score.y = value; id.y = i; }
    } else if (value > score.x) {
      score.x = value;
      id.x = i;
    }
  }
  scores[tid] = score;
  ids[tid] = id;
  ties[tid] = count;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) {
      let s = scores[tid + stride];
      let n = ids[tid + stride];
      if (better(s.x, n.x, scores[tid].x, ids[tid].x)) { scores[tid].x = s.x; ids[tid].x = n.x; }
      if (better(s.y, n.y, scores[tid].y, ids[tid].y)) { scores[tid].y = s.y; ids[tid].y = n.y; }
      ties[tid] += ties[tid + stride];
    }
    workgroupBarrier();
  }
  if (tid == 0u) {
    let base = 5u * group.x;
    picks[base] = bitcast<u32>(scores[0].x);
    picks[base + 1u] = ids[0].x;
    picks[base + 2u] = bitcast<u32>(scores[0].y);
    picks[base + 3u] = ids[0].y;
    picks[base + 4u] = ties[0];
  }
}
