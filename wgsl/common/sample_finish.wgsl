{# The end of a step: the new id goes to the ring and to the next embedding, the state moves on.
   Needs read_write `ring`, `tokens`, `state` and the constant RING. One thread. #}
fn finish(id: u32) {
  let step = state[S_STEP];
  if (step < RING) { ring[step] = id; }
  tokens[0] = id;
  state[S_POS] += state[S_N];
  state[S_N] = 1u;
  state[S_STEP] = step + 1u;
  for (var j = S_STOP_IDS; j < S_SOURCE; j++) {
    if (state[j] == id) { state[S_STOPPED] = 1u; }
  }
}
