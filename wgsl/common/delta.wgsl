{# Columns of a projected row q | k | v | z | b | a of WIDTH, and the gates of value head h (pyengine/ir/hybrid_ops.py).
   Needs y, a_log, dt_bias and the constants NK, NV, DK, DV, EACH (value heads beside each other that share a key head; with
   1 they take turns, as in llama.cpp's files), RATES (a_log is -exp(A_log) already, as there). #}
const K0: u32 = NK * DK;
const V0: u32 = 2u * NK * DK;
const Z0: u32 = V0 + NV * DV;
const B0: u32 = Z0 + NV * DV;
const A0: u32 = B0 + NV;
const WIDTH: u32 = A0 + NV;
fn key_head_of(h: u32) -> u32 { return h / EACH % NK; }
{% if gates %}
fn beta_of(row: u32, h: u32) -> f32 { return 1.0 / (1.0 + exp(-y[row + B0 + h])); }

// the logarithm of the decay, at most 0: -exp(a_log) * softplus(a + dt_bias)
fn decay_of(row: u32, h: u32) -> f32 {
  let a = y[row + A0 + h] + dt_bias[h];
  return select(-exp(a_log[h]), a_log[h], RATES) * (max(a, 0.0) + log(1.0 + exp(-abs(a))));
}
{% endif %}
