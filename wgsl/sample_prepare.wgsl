{# Sampled, 1 of 6: penalties and bias in place, each workgroup's maximum, and a clean scratch for
   this step. Inputs: logits (1, VOCAB) written, counts (VOCAB) u32 (bit 31: in the prompt, low 16:
   times generated), bias (VOCAB), state; outputs tops (PARTIALS) f32, scratch (SCRATCH) u32.
   Workgroup: CHUNK consecutive ids. Repetition penalty: Keskar et al. 2019; frequency and presence:
   OpenAI's. Constants: VOCAB, PARTIALS, SCRATCH. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> tops: array<f32>;
@group(0) @binding(5) var<storage, read_write> scratch: array<u32>;
{% include "common/sample.wgsl" %}
var<workgroup> partial: array<f32, THREADS>;

fn penalised(i: u32) -> f32 {
  var x = clean(logits[i]);
  if ((state[S_FLAGS] & 1u) != 0u) {
    let repetition = bitcast<f32>(state[S_REPETITION_PENALTY]);
    let count = counts[i];
    let generated = count & 0xffffu;
    if (count != 0u) {
      if (x < 0.0) { x *= repetition; } else { x /= repetition; }
    }
    if (generated != 0u) {
      x -= bitcast<f32>(state[S_FREQUENCY_PENALTY]) * f32(generated);
      x -= bitcast<f32>(state[S_PRESENCE_PENALTY]);
    }
  }
  if ((state[S_FLAGS] & 2u) != 0u) { x += bias[i]; }
  return clean(x);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  for (var i = group.x * THREADS + tid; i < SCRATCH; i += PARTIALS * THREADS) { scratch[i] = 0u; }
  var top = -LOGIT_LIMIT;
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    let x = penalised(i);
    logits[i] = x;
    top = max(top, x);
  }
  partial[tid] = top;
  workgroupBarrier();
  for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
    if (tid < stride) { partial[tid] = max(partial[tid], partial[tid + stride]); }
    workgroupBarrier();
  }
  if (tid == 0u) { tops[group.x] = partial[0]; }
}
