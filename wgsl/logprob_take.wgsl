{# After the step: its entry of log_ring gets the new id, its log probability, and the KEEP likeliest ids with theirs.
   Inputs: raw (1, VOCAB), tops (PARTIALS, 2 + 2 KEEP) u32 of logprob_top, tokens u32, log_ring (RING, 2 + 2 KEEP) u32, written,
   state. One workgroup. It does not heed `stopped`: the step that stopped needs its entry, and to write it again changes nothing.
   Constants: VOCAB, PARTIALS, KEEP, RING. #}
@group(0) @binding(0) var<storage, read_write> raw: array<f32>;
@group(0) @binding(1) var<storage, read_write> tops: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_ring: array<u32>;
@group(0) @binding(4) var<storage, read> state: array<u32>;
{% include "common/sample.wgsl" %}
{% include "common/sample_best.wgsl" %}
const ENTRY: u32 = 2u + 2u * KEEP;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) tid: u32) {
  let step = state[S_STEP];
  if (step == 0u || step > RING) { return; }
  let base = (step - 1u) * ENTRY;
  var highest = NO_SCORE;
  for (var p = 0u; p < PARTIALS; p++) { highest = max(highest, bitcast<f32>(tops[p * ENTRY])); }
  var total = 0.0;
  for (var p = 0u; p < PARTIALS; p++) {
    total += bitcast<f32>(tops[p * ENTRY + 1u]) * exp(bitcast<f32>(tops[p * ENTRY]) - highest);
  }
  let log_total = log(total);
  if (tid == 0u) {
    let id = tokens[0];
    log_ring[base] = id;
    log_ring[base + 1u] = bitcast<u32>(raw[min(id, VOCAB - 1u)] - highest - log_total);
  }
  var last = Best(-NO_SCORE, 0u);
  for (var rank = 0u; rank < KEEP; rank++) {
    var score = NO_SCORE;
    var id = NO_ID;
    for (var i = tid; i < PARTIALS * KEEP; i += THREADS) {
      let at = i / KEEP * ENTRY + 2u + 2u * (i % KEEP);
      let x = bitcast<f32>(tops[at]);
      if (better(x, tops[at + 1u], score, id) && better(last.score, last.id, x, tops[at + 1u])) {
        score = x;
        id = tops[at + 1u];
      }
    }
    last = best_of_all(tid, score, id);
    if (tid == 0u) {
      log_ring[base + 2u + 2u * rank] = last.id;
      log_ring[base + 3u + 2u * rank] = bitcast<u32>(last.score - highest - log_total);
    }
  }
}
