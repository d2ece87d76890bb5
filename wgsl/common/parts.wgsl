{# Which parts of the cache attention is cut into: pyengine/ir/split_ops.py defines them.
   Constants: SPLITS, SPAN (positions of a part while SPLITS of them suffice), HEADS, D. #}
const PARTS_ROW: u32 = HEADS * D + (HEADS + 3u) / 4u * 4u;  // f32 of one part
fn span_of(length: u32) -> u32 { return SPAN * ((length + SPAN * SPLITS - 1u) / (SPAN * SPLITS)); }
