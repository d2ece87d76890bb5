{# File bytes -> weight rows (docs/architecture.md, "Bytes"); numpy oracle: pyengine/quant/blocks.py.
   Inputs: src (a slice of the file, with whole rows in it), job (first source row, rows, first destination row, first byte of
   the rows in src);
   output dst. One thread per (row, group) for affine targets, per (row, word) for dense ones.
   exact: the file's own codes and scales; quantize: MLX's affine quantiser; dense: f32 values, or a copy.
   kernel: a convolution's rows (channels, TAPS), one an output, into columns of (TAPS, WIDE channels, OUTPUTS).
   place: one field a unit, the codes, scales or biases of an MLX matrix, into word FIRST + STRIDE * unit of the row; 16-bit
   ones into the half at SHIFT, beside what an earlier dispatch wrote.
   Constants: K, SRC_BYTES (per row), ROW_WORDS, CODE_WORDS, GROUP, HEAD (head size of rows in llama.cpp's
   interleaved RoPE order, or 0), ADD (to every value of a dense f32 row). #}
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read_write> dst: array<u32>;
@group(0) @binding(2) var<uniform> job: vec4<u32>;

{% set words = mode == "exact" and encoding in ("q4_0", "q4_1", "q8_0") %}
fn byte_at(i: u32) -> u32 { let at = job.w + i; return (src[at / 4u] >> (8u * (at % 4u))) & 255u; }
fn half_at(i: u32) -> f32 { return unpack2x16float(byte_at(i) | (byte_at(i + 1u) << 8u)).x; }
fn signed_at(i: u32) -> f32 { return f32(i32(byte_at(i) << 24u) >> 24u); }
{% if encoding in ("q4_k", "q5_k") %}
{% set bytes, elements, qs = (144, 256, 16) if encoding == "q4_k" else (176, 256, 48) %}

fn scale_bias(row: u32, group: u32) -> vec2<f32> {
  let at = row * SRC_BYTES + group / 8u * {{ bytes }}u;
  let j = group % 8u;
  var s = 0u;
  var m = 0u;
  if (j < 4u) {
    s = byte_at(at + 4u + j) & 63u;
    m = byte_at(at + 8u + j) & 63u;
  } else {
    let high = byte_at(at + 8u + j);
    s = (high & 15u) | ((byte_at(at + j) >> 6u) << 4u);
    m = (high >> 4u) | ((byte_at(at + 4u + j) >> 6u) << 4u);
  }
  return vec2<f32>(half_at(at) * f32(s), -(half_at(at + 2u) * f32(m)));
}

fn code(row: u32, k: u32) -> u32 {
  let at = row * SRC_BYTES + k / 256u * {{ bytes }}u;
  let j = k % 256u / 32u;
  let nibble = (byte_at(at + {{ qs }}u + j / 2u * 32u + k % 32u) >> (4u * (j % 2u))) & 15u;
  {% if encoding == "q5_k" %}
  return nibble | (((byte_at(at + 16u + k % 32u) >> j) & 1u) << 4u);
  {% else %}
  return nibble;
  {% endif %}
}
{% elif encoding == "q6_k" %}

fn scale_bias(row: u32, group: u32) -> vec2<f32> {
  let at = row * SRC_BYTES + group / 16u * 210u;
  let scale = half_at(at + 208u) * signed_at(at + 192u + group % 16u);
  return vec2<f32>(scale, -32.0 * scale);
}

fn code(row: u32, k: u32) -> u32 {
  let at = row * SRC_BYTES + k / 256u * 210u;
  let half = k % 256u / 128u;
  let quarter = k % 128u / 32u;
  let l = k % 32u;
  let low = (byte_at(at + half * 64u + quarter % 2u * 32u + l) >> (4u * (quarter / 2u))) & 15u;
  return low | (((byte_at(at + 128u + half * 32u + l) >> (2u * quarter)) & 3u) << 4u);
}
{% elif encoding in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0") %}
{% set bytes, qs = {"q4_0": (18, 2), "q4_1": (20, 4), "q5_0": (22, 6), "q5_1": (24, 8), "q8_0": (34, 2)}[encoding] %}

fn scale_bias(row: u32, group: u32) -> vec2<f32> {
  let at = row * SRC_BYTES + group * {{ bytes }}u;
  let d = half_at(at);
  return vec2<f32>(d, {{ {"q4_0": "d * -8.0", "q5_0": "d * -16.0", "q8_0": "d * -128.0"}.get(encoding, "half_at(at + 2u)") }});
}

fn code(row: u32, k: u32) -> u32 {
  let at = row * SRC_BYTES + k / 32u * {{ bytes }}u + {{ qs }}u;
  {% if encoding == "q8_0" %}
  return byte_at(at + k % 32u) ^ 128u;
  {% else %}
  let nibble = (byte_at(at + k % 16u) >> (4u * (k % 32u / 16u))) & 15u;
  {% if encoding in ("q5_0", "q5_1") %}
  return nibble | (((byte_at(at - 4u + k % 32u / 8u) >> (k % 8u)) & 1u) << 4u);
  {% else %}
  return nibble;
  {% endif %}
  {% endif %}
}
{% endif %}

{% if mode == "place" %}
{% elif encoding in ("f32", "f16", "bf16") %}
fn value(row: u32, k: u32) -> f32 {
  {% if encoding == "f32" %}
  let at = row * SRC_BYTES + 4u * k;
  return bitcast<f32>(byte_at(at) | (byte_at(at + 1u) << 8u) | (byte_at(at + 2u) << 16u) | (byte_at(at + 3u) << 24u));
  {% elif encoding == "f16" %}
  return half_at(row * SRC_BYTES + 2u * k);
  {% else %}
  let at = row * SRC_BYTES + 2u * k;
  return bitcast<f32>((byte_at(at) << 16u) | (byte_at(at + 1u) << 24u));
  {% endif %}
}
{% else %}
fn value(row: u32, k: u32) -> f32 {
  let sb = scale_bias(row, k / {{ 16 if encoding == "q6_k" else 32 }}u);
  return f32(code(row, k)) * sb.x + sb.y;
}
{% endif %}

{% if words %}

// the word whose first byte is i, wherever that lies
fn word_at(i: u32) -> u32 {
  let at = job.w + i;
  let shift = 8u * (at % 4u);
  let low = src[at / 4u] >> shift;
  if (shift == 0u) { return low; }
  return low | (src[at / 4u + 1u] << (32u - shift));
}
{% if encoding != "q8_0" %}

// the low nibbles of 8 bytes, side by side
fn nibbles(low: u32, high: u32) -> u32 {
  var both = vec2<u32>(low, high) & vec2<u32>(0x0f0f0f0fu);
  both = (both | (both >> vec2<u32>(4u))) & vec2<u32>(0x00ff00ffu);
  both = (both | (both >> vec2<u32>(8u))) & vec2<u32>(0xffffu);
  return both.x | (both.y << 16u);
}
{% endif %}
{% endif %}

fn destination(row: u32) -> u32 {
  let r = job.x + row;
  if (HEAD == 0u) { return (job.z + r) * ROW_WORDS; }
  let head = max(HEAD, 2u);  // Tint refuses a division by a constant zero even where it is not reached
  return (job.z + r / head * head + r % 2u * (head / 2u) + r % head / 2u) * ROW_WORDS;
}
{% if mode == "place" %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let row = index / K;
  let field = index % K;
  if (row >= job.y) { return; }
  let to = destination(row) + FIRST + STRIDE * field;
  let at = row * SRC_BYTES + {{ bits // 8 }}u * field;
  let bits = byte_at(at) | (byte_at(at + 1u) << 8u);
  {% if bits == 16 %}
  dst[to] = (dst[to] & (0xffff0000u >> SHIFT)) | (bits << SHIFT);
  {% else %}
  dst[to] = bits | (byte_at(at + 2u) << 16u) | (byte_at(at + 3u) << 24u);
  {% endif %}
}
{% elif mode == "kernel" %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let row = index / K;
  let i = index % K;
  if (row >= job.y) { return; }
  dst[destination(row) + (i % TAPS * WIDE + i / TAPS) * OUTPUTS] = bitcast<u32>(value(row, i));
}
{% elif mode == "dense" %}
{% set per_word = 1 if dtype == "f32" else 2 %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let words = (K + {{ per_word - 1 }}u) / {{ per_word }}u;
  let row = index / words;
  let word = index % words;
  if (row >= job.y) { return; }
  {% if dtype == "f32" %}
  var found = value(row, word);
  if (ADD != 0.0) { found += ADD; }  // a sum with 0 would turn -0 over
  dst[destination(row) + word] = bitcast<u32>(found);
  {% else %}
  let at = row * SRC_BYTES + 4u * word;  // a copy of 16-bit values
  var bits = byte_at(at) | (byte_at(at + 1u) << 8u);
  if (2u * word + 1u < K) { bits |= (byte_at(at + 2u) << 16u) | (byte_at(at + 3u) << 24u); }
  dst[destination(row) + word] = bits;
  {% endif %}
}
{% else %}

fn put_scale(at: u32, group: u32, sb: vec2<f32>) {
  {% if scale == "f16" %}
  dst[at + CODE_WORDS + group] = pack2x16float(sb);
  {% else %}
  dst[at + CODE_WORDS + 2u * group] = bitcast<u32>(sb.x);
  dst[at + CODE_WORDS + 2u * group + 1u] = bitcast<u32>(sb.y);
  {% endif %}
}
{% if mode == "quantize" %}

// MLX: zero and the edge of larger magnitude are exact; scale and bias are rounded to what is stored before the codes
fn choose(row: u32, k0: u32) -> vec2<f32> {
  var low = value(row, k0);
  var high = low;
  for (var k = k0 + 1u; k < k0 + GROUP; k++) { let v = value(row, k); low = min(low, v); high = max(high, v); }
  let low_side = abs(low) > abs(high);
  var scale = max((high - low) / {{ 2 ** bits - 1 }}.0, 1e-7);
  if (!low_side) { scale = -scale; }
  let edge = select(high, low, low_side);
  let steps = round(edge / scale);
  var bias = 0.0;
  if (steps != 0.0) { scale = edge / steps; bias = edge; }
  {% if scale == "f16" %}
  let size = clamp(abs(scale), 0.00006103515625, 65504.0);
  return unpack2x16float(pack2x16float(vec2<f32>(select(size, -size, scale < 0.0), clamp(bias, -65504.0, 65504.0))));
  {% else %}
  return vec2<f32>(scale, bias);
  {% endif %}
}
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let row = index / (K / GROUP);
  let group = index % (K / GROUP);
  if (row >= job.y) { return; }
  let at = destination(row);
  {% if mode == "exact" %}
  put_scale(at, group, scale_bias(row, group));
  {% else %}
  let sb = choose(row, group * GROUP);
  put_scale(at, group, sb);
  {% endif %}
  {% if words %}
  // a group is a block: whole words go over at once, since a byte at a time costs software devices ten times as much
  let from_byte = row * SRC_BYTES + group * {{ bytes }}u + {{ qs }}u;
  let to = at + group * {{ bits }}u;
  {% if encoding == "q8_0" %}
  for (var i = 0u; i < 8u; i++) { dst[to + i] = word_at(from_byte + 4u * i) ^ 0x80808080u; }
  {% else %}
  for (var i = 0u; i < 2u; i++) {
    let low = word_at(from_byte + 8u * i);
    let high = word_at(from_byte + 8u * i + 4u);
    dst[to + i] = nibbles(low, high);
    dst[to + 2u + i] = nibbles(low >> 4u, high >> 4u);
  }
  {% endif %}
  {% else %}
  for (var i = 0u; i < GROUP * {{ bits }}u / 32u; i++) {
    var word = 0u;
    for (var j = 0u; j < {{ 32 // bits }}u; j++) {
      let k = group * GROUP + i * {{ 32 // bits }}u + j;
      {% if mode == "exact" %}
      let q = code(row, k);
      {% else %}
      let q = u32(clamp(round((value(row, k) - sb.y) / sb.x), 0.0, {{ 2 ** bits - 1 }}.0));
      {% endif %}
      word |= q << ({{ bits }}u * j);
    }
    dst[at + group * GROUP * {{ bits }}u / 32u + i] = word;
  }
  {% endif %}
}
{% endif %}
