{# What the sampling kernels share: pyengine/ir/sample_math.py defines it, names are the same.
   Constants: VOCAB, PARTIALS (workgroups, each takes CHUNK consecutive ids). #}
{% include "common/state.wgsl" %}
const THREADS: u32 = 256u;
const CHUNK: u32 = (VOCAB + PARTIALS - 1u) / PARTIALS;
const NO_ID: u32 = 0xffffffffu;
const NO_SCORE: f32 = -3.0e38;
const LOGIT_LIMIT: f32 = 1.0e30;
const DISTANCE_LIMIT: f32 = 1.0e9;

// NaN, infinities and -0 by their bits: WGSL may assume that floats are finite and zeros equal
fn clean(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if (bits == 0x80000000u) { return 0.0; }
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    return select(-LOGIT_LIMIT, LOGIT_LIMIT, bits == 0x7f800000u);
  }
  return clamp(x, -LOGIT_LIMIT, LOGIT_LIMIT);
}

// higher score first, then lower id
fn better(score: f32, id: u32, than: f32, than_id: u32) -> bool {
  return score > than || (score == than && id < than_id);
}

fn distance_to(top: f32, x: f32) -> f32 { return min(top - x, DISTANCE_LIMIT); }
