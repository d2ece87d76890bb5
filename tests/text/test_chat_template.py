"""Chat templates: SmolLM2's golden prompts, transformers' dialect, bad messages, hostile
templates."""

import json
import time

import pytest

from pyengine.errors import EngineError
from pyengine.text.chat_template import ChatTemplate
from tests.support import own_seconds
from tests.text.backends import GOLDENS, native

GOLDEN = json.loads((GOLDENS / "smollm2_chat.golden.json").read_text())
USER = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Wetter für <city> & 'land'",
        "parameters": {"type": "object", "properties": {}},
    },
}


def smollm2():
    return ChatTemplate(GOLDEN["chat_template"], GOLDEN["special_tokens"])


def render(source, messages=USER, special=None, **options):
    return ChatTemplate(source, special).render(messages, **options)


def failure(code, function, *args, **options):
    with pytest.raises(EngineError) as caught:
        function(*args, **options)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("chat", GOLDEN["chats"], ids=lambda chat: chat["prompt"][:20])
def test_smollm2_prompts_have_the_golden_ids(chat):
    text = smollm2().render([{"role": "user", "content": chat["prompt"]}])
    assert native("smollm2").encode(text) == chat["ids"]


def test_the_first_golden_prompt_has_37_ids():
    assert len(GOLDEN["chats"][0]["ids"]) == 37


def test_smollm2_with_a_system_message_and_turns():
    messages = [
        {"role": "system", "content": "Be brief."},
        *USER,
        {"role": "assistant", "content": "yo"},
        *USER,
    ]
    assert smollm2().render(messages, add_generation_prompt=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nyo<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
    )


def test_a_template_that_ignores_tools_still_renders():
    assert smollm2().render(USER, tools=[WEATHER]) == smollm2().render(USER)


def test_tools_reach_the_template_as_json_without_escapes():
    text = render("{% for t in tools %}{{ t | tojson }}\n{% endfor %}", tools=[WEATHER])
    assert text == json.dumps(WEATHER, ensure_ascii=False) + "\n"
    assert "für <city> & 'land'" in text
    assert render("{{ tools | tojson(indent=2) }}", tools=[WEATHER]) == json.dumps(
        [WEATHER], indent=2, ensure_ascii=False
    )
    assert render("{{ tools is none }}") == render("{{ tools is none }}", tools=[]) == "True"


def test_transformers_dialect():
    assert (
        render(
            "{% for m in messages %}\n  {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}"
        )
        == "user\n"
    )
    assert (
        render(
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}"
            "{% if i == 4 %}{% break %}{% endif %}"
            "{{ i }}{% endfor %}"
        )
        == "013"
    )
    assert render("a{% generation %}{{ messages[0].content }}{% endgeneration %}b") == "ahib"
    assert render("{{ strftime_now('%Y-%m-%d') }}") == time.strftime("%Y-%m-%d")
    assert (
        render(
            "{{ bos_token }}{{ eos_token }}|{{ nothing }}",
            special={
                "bos_token": "<s>",
                "eos_token": {"content": "</s>"},
                "nothing": "x",
                "pad_token": None,
            },
        )
        == "<s></s>|"
    )
    assert render("{{ enable_thinking }}", enable_thinking=False) == "False"
    assert render("{{ messages[0]['content'] ~ '<b>' }}{{ messages|length }}") == "hi<b>1"


def test_an_iterator_is_not_used_up_by_the_checks():
    assert render("{{ ', '.join(['a', 'b'] | map('upper')) }}") == "A, B"
    assert render("{% set m = ['a', 'b'] | map('upper') %}{{ m | join('-') }}") == "A-B"


def test_expressions_of_real_templates():
    assert (
        render(
            "{% set ns = namespace(a=0) %}{% for m in messages %}{% set ns.a = ns.a + loop.index %}"
            "{{ loop.last }}{{ loop.length }}{% endfor %}{{ ns.a }}{{ messages[::-1][0].role }}"
        )
        == "True11user"
    )
    assert (
        render(
            "{{ ['a', 'b'] | map('upper') | join(', ') }}{{ '%s-%d' % ('x', 3) }}"
            "{{ 'a{}'.format(1) }}"
            "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        )
        == "A, Bx-3a11"
    )
    assert (
        render(
            "{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m('a')|trim }}"
            "{% set b %}{{ m(1) }}{% endset %}{{ b }}"
        )
        == "[a][1]"
    )
    assert (
        render("{{ messages[0].content.split('i')[0] }}{{ {'a': 1}.items() | list }}")
        == "h[('a', 1)]"
    )


def test_the_template_says_why_it_refuses():
    error = failure("E_BAD_TEMPLATE", render, "{{ raise_exception('roles must alternate') }}")
    assert "roles must alternate" in error.message
    assert "plain completions" in error.next_step


def test_named_templates():
    source = [
        {"name": "default", "template": "D"},
        {"name": "tool_use", "template": "T"},
        {"name": "rag", "template": "R"},
    ]
    for form in (source, {entry["name"]: entry["template"] for entry in source}):
        template = ChatTemplate(form)
        assert template.render(USER) == "D"
        assert template.render(USER, tools=[WEATHER]) == "T"
        assert template.render(USER, template="rag") == "R"
        assert (
            "only: default, tool_use, rag"
            in failure("E_BAD_TEMPLATE", template.render, USER, template="x").message
        )


@pytest.mark.parametrize("source", (None, "", [], {}, [{"name": "rag", "template": "R"}], [3]))
def test_no_template_advises_plain_completions(source):
    if source == "":
        assert render(source) == ""
        return
    error = failure("E_BAD_TEMPLATE", render, source)
    assert "completions" in error.next_step


def test_contents():
    parts = [{"type": "text", "text": "a"}, {"text": "b"}, {"type": "text", "text": "c"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "abc"
    assert render("{{ messages[0].role }}", [{"role": "developer", "content": "x"}]) == "system"
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"city": "Köln"}'},
    }
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    text = render(
        "{{ messages[0].content }}{{ messages[0].tool_calls[0].function.arguments | tojson }}",
        [said],
    )
    assert text == '{"city": "Köln"}'
    assert said["content"] is None and isinstance(call["function"]["arguments"], str)


@pytest.mark.parametrize(
    "messages, param",
    (
        (None, "messages"),
        ([], "messages"),
        ("hi", "messages"),
        ([3], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([*USER, {"role": "king", "content": "x"}], "messages[1].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "assistant", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0]",
        ),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": {}, "content": ""}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0]"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
    ),
)
def test_bad_messages_are_named(messages, param):
    assert failure("E_BAD_REQUEST", render, "x", messages).facts["param"] == param


@pytest.mark.parametrize("tools", ({}, [3], [{"type": "function"}], [{"function": {"name": 3}}]))
def test_bad_tools_are_refused(tools):
    assert failure("E_BAD_REQUEST", render, "x", tools=tools).facts["param"].startswith("tools")


def growing(start, step, end="n.x"):
    """A template that applies `step` to `n.x` 60 times."""
    loop = "{% for i in range(60) %}{% set n.x = " + step + " %}{% endfor %}"
    return "{% set n = namespace(x=" + start + ") %}" + loop + "{{ " + end + " }}"


HOSTILE = {
    "class": "{{ ''.__class__.__mro__ }}",
    "attr filter": "{{ (messages|attr('__class__')).mro }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "format escape": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "mutation": "{{ messages.append(1) }}",
    "import": "{% import 'os' as x %}",
    "include": "{% include '/etc/passwd' %}",
    "syntax": "{% if",
    "undefined attribute": "{{ nothing.x }}",
    "type error": "{{ 'a' + 1 }}",
    "long range": "{{ range(10**9)|list|length }}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "macro tree": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for x in [1,2] recursive %}{{ loop([1,2]) }}{% endfor %}",
    "repeat": "{{ 'a' * 10**9 }}",
    "repeat list": "{{ ([1] * 10**9)|length }}",
    "power": "{{ 9**9**9 }}",
    "squares": growing("3", "n.x * n.x"),
    "doubling": growing("'ab'", "n.x ~ n.x"),
    "doubling by +": growing("'ab'", "n.x + n.x"),
    "laughs": growing("[1]", "[n.x, n.x]"),
    "laughs by filter": growing("[1]", "[n.x, n.x]", "n.x | tojson | length"),
    "block": "{% set a %}{{ 'x'*9000000 }}{% endset %}"
    "{% set b %}{{ a }}{{ a }}{% endset %}{{ b|length }}",
    "center": "{{ 'a'|center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "width in %": "{{ '%1000000000d' % 1 }}",
    "star width": "{{ '%*d' % (10**9, 1) }}",
    "width in format": "{{ '{:>1000000000}'.format(1) }}",
    "replace": "{{ ('a'*10000)|replace('a', 'b'*10000) }}",
    "str.replace": "{{ ('a'*10000).replace('a', 'b'*10000) }}",
    "join": "{{ range(99999)|map('string')|join('x'*9999) }}",
    "str.join": "{{ ('x'*9999).join(messages*9999) }}",
    "output": "{% for i in range(99999) %}{{ 'x'*1000 }}{% endfor %}",
    "scans": "{% for i in range(99999) %}{% if 'zz' in 'a'*9000000 %}{% endif %}{% endfor %}",
    "deep": "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_contained(name):
    begin = own_seconds()
    error = failure("E_BAD_TEMPLATE", render, HOSTILE[name])
    assert len(error.facts["detail"]) <= 300
    assert own_seconds() - begin < 20


def test_an_unsafe_attribute_prints_nothing():
    assert render("{{ messages.__class__ }}{{ messages|attr('__class__') }}") == ""


def test_a_failed_render_leaves_the_template_usable():
    template = ChatTemplate(
        "{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}ok"
    )
    failure("E_BAD_TEMPLATE", template.render, USER, n=99999)
    assert template.render(USER, n=3) == "ok"


def test_long_chats_and_long_texts_render():
    turns = [{"role": ("user", "assistant")[i % 2], "content": "word " * 20} for i in range(2000)]
    assert smollm2().render(turns).count("<|im_start|>") == 2002
    long = [{"role": "user", "content": "x" * 1_000_000}]
    assert len(smollm2().render(long)) > 1_000_000
    text = (
        "{% for m in messages %}{{ m.content | trim | replace('\n', ' ') }}"
        "{% if 'x' in m.content %}!{% endif %}{% endfor %}"
    )
    assert len(render(text, long)) == 1_000_001
