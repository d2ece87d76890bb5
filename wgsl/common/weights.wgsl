{# Weight rows as docs/architecture.md ("Bytes") lays them out, read a vec4<u32> (one block) at a time.
   Block: 32 elements of 4-bit codes, 16 of 8-bit codes, 8 of f16/bf16, 4 of f32.
   Constants: K columns, GROUP, CODE_WORDS, ROW_VECS (vec4<u32> per row). #}
{% set block = {"affine4": 32, "affine8": 16, "f16": 8, "bf16": 8, "f32": 4}[weights] %}
{% set vecs = block // 4 %}
const BLOCK: u32 = {{ block }}u;
const BLOCKS: u32 = (K + BLOCK - 1u) / BLOCK;
{% if scale in ("f16", "bf16") %}
fn scale_bias(row: u32, group: u32) -> vec2<f32> {
  let word = CODE_WORDS + group;
  let pair = w[row * ROW_VECS + word / 4u][word % 4u];
  {% if scale == "bf16" %}
  return bitcast<vec2<f32>>(vec2<u32>(pair << 16u, pair & 0xffff0000u));
  {% else %}
  return unpack2x16float(pair);
  {% endif %}
}
{% elif scale == "f32" %}
fn scale_bias(row: u32, group: u32) -> vec2<f32> {
  let word = CODE_WORDS + 2u * group;
  let pair = w[row * ROW_VECS + word / 4u];
  let odd = word % 4u;  // 0 or 2, or 1 or 3 when CODE_WORDS is odd
  if (odd < 3u) { return bitcast<vec2<f32>>(vec2<u32>(pair[odd], pair[odd + 1u])); }
  return bitcast<vec2<f32>>(vec2<u32>(pair.w, w[row * ROW_VECS + word / 4u + 1u].x));
}
{% endif %}
{# Declares what block_vec needs of a block; `id` keeps several apart. #}
{% macro block_vars(id="") %}
var codes{{ id }}: vec4<u32>;
{% if weights in ("affine4", "affine8") %}
var sb{{ id }}: vec2<f32>;
{% if weights == "affine4" %}
var sc{{ id }}: vec2<f32>;
{% endif %}
{% endif %}
{% endmacro %}
{# Loads block v of a row into them. #}
{% macro load_block(row, v, id="") %}
codes{{ id }} = w[{{ row }} * ROW_VECS + {{ v }}];
{% if weights in ("affine4", "affine8") %}
sb{{ id }} = scale_bias({{ row }}, {{ v }} * BLOCK / GROUP);
{% if weights == "affine4" %}
sc{{ id }} = sb{{ id }};
if (GROUP < BLOCK) { sc{{ id }} = scale_bias({{ row }}, min({{ v }} * BLOCK / GROUP + 1u, K / GROUP - 1u)); }
{% endif %}
{% endif %}
{% endmacro %}
{# Elements 4j .. 4j + 3 of the loaded block, as vec4 of `real`. #}
{% macro block_vec(j, id="", real="f32") %}
{% if weights == "affine4" -%}
{% set s = ("sb" if j < 4 else "sc") ~ id -%}
(vec4<{{ real }}>((vec4<u32>(codes{{ id }}.{{ "xyzw"[j // 2] }}) >> vec4<u32>({{ 16 * (j % 2) }}u, {{ 16 * (j % 2) + 4 }}u, {{ 16 * (j % 2) + 8 }}u, {{ 16 * (j % 2) + 12 }}u)) & vec4<u32>(15u)) * {{ real }}({{ s }}.x) + {{ real }}({{ s }}.y))
{%- elif weights == "affine8" -%}
(vec4<{{ real }}>((vec4<u32>(codes{{ id }}.{{ "xyzw"[j] }}) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u)) * {{ real }}(sb{{ id }}.x) + {{ real }}(sb{{ id }}.y))
{%- elif weights == "f16" -%}
vec4<{{ real }}>(vec4<f32>(unpack2x16float(codes{{ id }}.{{ "xyzw"[2 * j] }}), unpack2x16float(codes{{ id }}.{{ "xyzw"[2 * j + 1] }})))
{%- elif weights == "bf16" -%}
vec4<{{ real }}>(bitcast<vec4<f32>>(vec4<u32>(codes{{ id }}.{{ "xyzw"[2 * j] }} << 16u, codes{{ id }}.{{ "xyzw"[2 * j] }} & 0xffff0000u, codes{{ id }}.{{ "xyzw"[2 * j + 1] }} << 16u, codes{{ id }}.{{ "xyzw"[2 * j + 1] }} & 0xffff0000u)))
{%- else -%}
vec4<{{ real }}>(bitcast<vec4<f32>>(codes{{ id }}))
{%- endif %}
{% endmacro %}
{# The same a word at a time, for loops that must stay small: `units` words (or whole dense blocks) of `unit_vecs` vec4 each. #}
{% set units = 4 if weights in ("affine4", "affine8") else 1 %}
{% set unit_vecs = vecs // units %}
{% macro unit_vec(u, h, id="") %}
{% if weights == "affine4" -%}
(vec4<f32>((vec4<u32>(codes{{ id }}[{{ u }}]) >> vec4<u32>({{ 16 * h }}u, {{ 16 * h + 4 }}u, {{ 16 * h + 8 }}u, {{ 16 * h + 12 }}u)) & vec4<u32>(15u)) * select(sc{{ id }}.x, sb{{ id }}.x, {{ u }} < 2u) + select(sc{{ id }}.y, sb{{ id }}.y, {{ u }} < 2u))
{%- elif weights == "affine8" -%}
(vec4<f32>((vec4<u32>(codes{{ id }}[{{ u }}]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u)) * sb{{ id }}.x + sb{{ id }}.y)
{%- else -%}
{{ block_vec(h, id) }}
{%- endif %}
{% endmacro %}
{# vec4 h of one unit that was loaded before: `word` is its u32 (affine, with its group's scale and bias) or its vec4<u32>. #}
{% macro word_vec(word, scale, h) %}
{% if weights == "affine4" -%}
(vec4<f32>((vec4<u32>({{ word }}) >> vec4<u32>({{ 16 * h }}u, {{ 16 * h + 4 }}u, {{ 16 * h + 8 }}u, {{ 16 * h + 12 }}u)) & vec4<u32>(15u)) * {{ scale }}.x + {{ scale }}.y)
{%- elif weights == "affine8" -%}
(vec4<f32>((vec4<u32>({{ word }}) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u)) * {{ scale }}.x + {{ scale }}.y)
{%- elif weights == "f16" -%}
vec4<f32>(unpack2x16float({{ word }}.{{ "xz"[h] }}), unpack2x16float({{ word }}.{{ "yw"[h] }}))
{%- elif weights == "bf16" -%}
bitcast<vec4<f32>>(vec4<u32>({{ word }}.{{ "xz"[h] }} << 16u, {{ word }}.{{ "xz"[h] }} & 0xffff0000u, {{ word }}.{{ "yw"[h] }} << 16u, {{ word }}.{{ "yw"[h] }} & 0xffff0000u))
{%- else -%}
bitcast<vec4<f32>>({{ word }})
{%- endif %}
{% endmacro %}
