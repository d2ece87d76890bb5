{# Before sampling, while a grammar is active: ids whose bit is 0 get the lowest logit. Inputs: logits (1, VOCAB) written,
   mask (ceil(VOCAB / 32)) u32, bit i % 32 of word i / 32, state. Workgroup: CHUNK consecutive ids, as in sampling; none that is
   allowed is written. Constants: VOCAB, PARTIALS. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
{% include "common/sample.wgsl" %}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  if (state[S_STOPPED] != 0u) { return; }
  let end = min((group.x + 1u) * CHUNK, VOCAB);
  for (var i = group.x * CHUNK + tid; i < end; i += THREADS) {
    if (((mask[i / 32u] >> (i % 32u)) & 1u) == 0u) { logits[i] = -LOGIT_LIMIT; }
  }
}
