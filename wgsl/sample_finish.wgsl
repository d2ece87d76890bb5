{# Sampled, 6 of 6: the best of the workgroups' picks, then the end of the step. One workgroup.
   Of the last kept key only the SEL_TIES lowest ids count: whole chunks up to there, and the one
   chunk in which that count is reached is read again. Inputs: logits (1, VOCAB), picks (PARTIALS,
   5) u32, scratch, ring (RING) u32, tokens u32, counts (VOCAB) u32, state; the last four are
   written. Constants: VOCAB, PARTIALS, RING. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> picks: array<u32>;
@group(0) @binding(2) var<storage, read_write> scratch: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> ring: array<u32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(5) var<storage, read_write> counts: array<u32>;
@group(0) @binding(6) var<storage, read_write> state: array<u32>;
{% set search = true %}
{% include "common/sample.wgsl" %}
{% include "common/sample_filter.wgsl" %}
{% include "common/sample_noise.wgsl" %}
{% include "common/sample_finish.wgsl" %}
{% include "common/sample_best.wgsl" %}
const SLICE: u32 = (CHUNK + THREADS - 1u) / THREADS;
var<workgroup> stopped: u32;
var<workgroup> staged: array<u32, 5u * PARTIALS>;

struct Split { score: f32, id: u32, chunk: u32, left: u32 }

// the best of what is kept whole, the chunk that is kept in part (PARTIALS: none) and how many of
// its ties
fn merge(ties: u32) -> Split {
  var best = Split(NO_SCORE, NO_ID, PARTIALS, 0u);
  var left = ties;
  for (var p = 0u; p < PARTIALS; p++) {
    let base = 5u * p;
    let score = bitcast<f32>(staged[base]);
    if (better(score, staged[base + 1u], best.score, best.id)) {
      best.score = score;
      best.id = staged[base + 1u];
    }
    let count = staged[base + 4u];
    if (count <= left) {
      let tied = bitcast<f32>(staged[base + 2u]);
      if (better(tied, staged[base + 3u], best.score, best.id)) {
        best.score = tied;
        best.id = staged[base + 3u];
      }
      left -= count;
    } else {
      if (left > 0u) { best.chunk = p; best.left = left; }
      left = 0u;
    }
  }
  return best;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) tid: u32) {
  if (tid == 0u) { stopped = state[S_STOPPED]; }
  if (workgroupUniformLoad(&stopped) != 0u) { return; }
  for (var i = tid; i < 5u * PARTIALS; i += THREADS) { staged[i] = picks[i]; }
  workgroupBarrier();
  let scale = bitcast<f32>(state[S_KEY_SCALE]);
  let key = atomicLoad(&scratch[SEL_KEY]);
  let top = bitcast<f32>(atomicLoad(&scratch[SEL_TOP]));
  let noise = noise_keys(state[S_SEED], state[S_POS] + state[S_N]);
  let split = merge(atomicLoad(&scratch[SEL_TIES]));
  let begin = min(split.chunk * CHUNK + tid * SLICE, VOCAB);
  let end = min(min(begin + SLICE, (split.chunk + 1u) * CHUNK), VOCAB);
  var count = 0u;
  for (var i = begin; i < end; i++) {
    if (key_of(top, logits[i], scale) == key) { count += 1u; }
  }
  var rank = scan64(tid, vec2<u32>(count, 0u)).x;
  var score = split.score;
  var id = split.id;
  for (var i = begin; i < end; i++) {
    if (key_of(top, logits[i], scale) == key) {
      let value = score_of(top, logits[i], scale, noise, i);
      if (rank < split.left && better(value, i, score, id)) { score = value; id = i; }
      rank += 1u;
    }
  }
  let best = best_of_all(tid, score, id);
  if (tid == 0u) {
    let chosen = best.id;
    finish(chosen);
    if ((counts[chosen] & 0xffffu) != 0xffffu) { counts[chosen] += 1u; }
  }
}
