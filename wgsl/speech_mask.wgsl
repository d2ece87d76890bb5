{# Before sampling, in a voice model: ids that may not follow the last one get the lowest logit (pyengine/ir/mask_ops.py).
   Inputs: logits (1, VOCAB) written, ids (rows), state. One thread per id.
   Constants: VOCAB, AUDIO, CODEBOOK, GROUPS, START, END, OPENING. #}
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  if (state[2] != 0u || i >= VOCAB) { return; }
  let last = ids[max(state[1], 1u) - 1u];
  let spoken = last >= AUDIO && last < AUDIO + GROUPS * CODEBOOK;
  var allowed = i == START || (i == OPENING && i != last);
  if (spoken || last == START) {
    let group = select(0u, ((last - AUDIO) / CODEBOOK + 1u) % GROUPS, spoken);
    allowed = (i >= AUDIO && (i - AUDIO) / CODEBOOK == group) || (i == END && spoken && group == 0u);
  }
  if (!allowed) { logits[i] = -1.0e30; }
}
