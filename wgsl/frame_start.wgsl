{# The position behind the last text token of these rows becomes word 31 of the state (pyengine/ir/voice_ops.py). One thread.
   Inputs: ids (T), state written. Constants: MANY (more than one row), AUDIO. #}
@group(0) @binding(0) var<storage, read_write> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;

@compute @workgroup_size(1)
fn main() {
  if (state[2] != 0u) { return; }
  for (var t = select(1u, state[1], MANY); t > 0u; t--) {
    if (ids[t - 1u] < AUDIO) {
      state[31] = state[0] + t;
      return;
    }
  }
}
