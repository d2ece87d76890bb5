{# `binding()`: the attributes of the next binding of group 0, from 0 on. Import it "with context": without it, jinja2 keeps one
   count for all renderings. #}
{% set b = namespace(i=0) %}
{% macro binding() %}@group(0) @binding({{ b.i }}){% set b.i = b.i + 1 %}{% endmacro %}
