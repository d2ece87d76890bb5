"""Calls in five formats: tables of what models write, cut at every place, and hostile text."""

import json
import random

import pytest

from app.tools import formats, gemma, hermes, lfm2, llama, qwen_xml
from app.tools.base import MAX_BODY, MAX_CALLS, Call, merged
from app.tools.pythonic import read_literal
from tests.support import own_seconds

ALL = [hermes, qwen_xml, lfm2, gemma, llama]
TOOLS = {
    "f": {"properties": {"a": {"type": "integer"}, "s": {"type": "string"}, "l": {"type": "array"},
                         "any": {}}},
    "g": None,
}
OPEN, CLOSE = lfm2.START, lfm2.END
F1 = Call("f", '{"a": 1}')
G = Call("g", "{}")

CASES = [
    (hermes, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [F1]),
    (hermes, 'So:\n<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call> end',
     ["So:\n", F1, " end"]),
    (hermes, '<tool_call>{"name":"f","arguments":"{\\"a\\": 1}"}</tool_call>'
             '<tool_call>{"name":"g"}</tool_call>', [F1, G]),
    (hermes, '<tool_call>[{"name":"f","arguments":{"a":1}},{"name":"g"}]</tool_call>', [F1, G]),
    (hermes, '<tool_call>{"name":"f","arguments":{"s":"</tool_call> it\'s"}}</tool_call>',
     [Call("f", '{"s": "</tool_call> it\'s"}')]),
    (hermes, '<tool_call>{"name":"f","arguments":{"a":1}}', [F1]),  # its end is missing
    (hermes, '<tool_call>{"name":"f","argu', ['<tool_call>{"name":"f","argu']),
    (hermes, '<tool_call>nonsense</tool_call> <tool_call>{"name":"g"}</tool_call>',
     ["<tool_call>nonsense</tool_call> ", G]),
    (hermes, '<think>maybe <tool_call>{"name":"g"}</tool_call></think><tool_call>{"name":"g"}'
             '</tool_call>',
     ['<think>maybe <tool_call>{"name":"g"}</tool_call></think>', G]),
    (hermes, '<tool_call><function=f><parameter=a>1</parameter></function></tool_call>', [F1]),
    (hermes, "a < b, <tool and <tool_cal", ["a < b, <tool and <tool_cal"]),
    (hermes, '<tool_call>{"name":"f","arguments":{"s":"é日😀"}}</tool_call>',
     [Call("f", '{"s": "é日😀"}')]),
    (qwen_xml, "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n"
               "</tool_call>",
     [F1]),
    (qwen_xml, "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>", [F1]),
    (qwen_xml, "<tool_call>\n<function=g>\n</function>\n</tool_call>!", [G, "!"]),
    (qwen_xml, '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', [F1]),
    (qwen_xml, "<tool_call><function=f><parameter=s>\nx = '</tool_call>'\n<b>\n\n</parameter>"
               "<parameter=l>[1, {'k': True}]</parameter><parameter=any>12</parameter></function>"
               "</tool_call>",
     [Call("f", '{"s": "x = \'</tool_call>\'\\n<b>\\n", "l": [1, {"k": true}], "any": "12"}')]),
    (qwen_xml, "<tool_call><function=f><parameter=a>many</parameter></function></tool_call>",
     [Call("f", '{"a": "many"}')]),
    (qwen_xml, "<tool_call><function=f><parameter=a>1</tool_call>",
     ["<tool_call><function=f><parameter=a>1</tool_call>"]),
    (lfm2, f"{OPEN}[f(a=1), g()]{CLOSE}Done", [F1, G, "Done"]),
    (lfm2, f"{OPEN}[f(s='it\\'s {CLOSE}', l=[1, -2.5, None, {{'k': (True, false)}}])]{CLOSE}",
     [Call("f", json.dumps({"s": f"it's {CLOSE}", "l": [1, -2.5, None, {"k": [True, False]}]}))]),
    (lfm2, f'{OPEN}[{{"name": "f", "arguments": {{"a": 1}}}}]{CLOSE}', [F1]),
    (lfm2, f"{OPEN}[f(a=__import__('os'))]{CLOSE}", [f"{OPEN}[f(a=__import__('os'))]{CLOSE}"]),
    (lfm2, f"{OPEN}[f(a=1)", [f"{OPEN}[f(a=1)"]),
    (lfm2, f'{OPEN}[f(s="""two\nlines""")]{CLOSE}', [Call("f", '{"s": "two\\nlines"}')]),
    (gemma, "Sure.\n```tool_code\nprint(default_api.f(a=1))\ng()\n```\nok",
     ["Sure.\n", F1, G, "\nok"]),
    (gemma, "```tool_code\nf(1, 'x')\n```", [Call("f", '{"a": 1, "s": "x"}')]),
    (gemma, "```python\nf(a=1)\n```", ["```python\nf(a=1)\n```"]),
    (gemma, "```tool_code\nimport os\n```", ["```tool_code\nimport os\n```"]),
    (llama, ' {"name": "f", "parameters": {"a": 1}}', [F1]),
    (llama, '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', [F1, G]),
    (llama, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}', [F1]),
    (llama, "<|python_tag|>f.call(a=1)", [F1]),
    (llama, 'See <|python_tag|>{"name": "g"} so', ["See ", G, " so"]),
    (llama, '{"name": "unknown", "parameters": {}}', ['{"name": "unknown", "parameters": {}}']),
    (llama, '{"answer": "}{"} and {"name": "g"}', ['{"answer": "}{"} and {"name": "g"}']),
    (llama, '<|python_tag|>{"x": 1} <|python_tag|>{"name": "g"}',
     ['<|python_tag|>{"x": 1} ', G]),
    (llama, '{"name": "f", "param', ['{"name": "f", "param']),
]


def parse(module, pieces, tools=TOOLS, thinking=False):
    parser = module.Parser(tools, thinking)
    events = [event for piece in pieces for event in parser.push(piece)]
    return merged(events + parser.finish())


@pytest.mark.parametrize("module, text, expected", CASES)
def test_what_models_write(module, text, expected):
    assert parse(module, [text]) == expected
    assert parse(module, text) == expected, "by characters"
    for at in range(len(text)):
        assert parse(module, [text[:at], text[at:]]) == expected, at


@pytest.mark.parametrize("module", ALL)
def test_what_is_written_is_read_back(module):
    calls = [("f", {"a": -7, "s": "it's \"so\"\n</x> 日", "l": [1.5, {"k": None}]}), ("g", {})]
    found = parse(module, module.write(calls))
    assert [(c.name, json.loads(c.arguments)) for c in found if c != "\n"] == calls


@pytest.mark.parametrize("module", ALL)
def test_nothing_is_a_call_inside_a_thought(module):
    text = module.write([("f", {"a": 1})])
    assert parse(module, f"hm {text}</think>{text}", thinking=True) == [f"hm {text}</think>", F1]
    assert parse(module, "hm " + text, thinking=True) == ["hm " + text]


@pytest.mark.parametrize("module", ALL)
def test_plain_text_is_not_held(module):
    parser = module.Parser(TOOLS)
    assert parser.push("Hello, ") == ["Hello, "] and parser.push("you. <") == ["you. "]
    assert parser.push("b> [1]") == ["<b> [1]"] and parser.finish() == []


HOSTILE = [
    '{"name": "f", "arguments": {"l": ' + "[" * 9000 + "]" * 9000 + "}}",
    '{"name": "f", "arguments": {"a": 1e999}}',
    '{"name": "f", "arguments": {"a": NaN}}',
    '{"name": "f", "arguments": {"s": "\\ud800"}}',
    '{"name": "f", "arguments": {"a": ' + "9" * 9000 + "}}",
    '{"name": "../../x y", "arguments": {}}',
    '{"name": "f", "arguments": [1]}',
    "f(" + "(" * 9000 + ")" * 9000 + ")",
    "f(a=" + "-" * 9000 + "1)",
    "f(a=" + "9" * 9000 + ")",
    "f(s='\\ud800')",
    "f(s='\\N{nothing}')",
    "f(**{})",
    "f(a=lambda: 1)",
    "f(a=[i for i in range(9)])",
    "f(a=1e999)",
    '"' + '\\"' * 9000,
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bodies_stay_text(body):
    for module, text in ((hermes, f"<tool_call>{body}</tool_call>"),
                         (lfm2, f"{OPEN}[{body}]{CLOSE}"), (gemma, f"```tool_code\n{body}\n```"),
                         (llama, f"<|python_tag|>{body}")):
        assert parse(module, [text]) == [text]


def test_long_and_many_calls_have_an_end():
    long = '<tool_call>{"name":"f","arguments":{"s":"' + "x" * MAX_BODY + '"}}</tool_call>'
    assert parse(hermes, [long]) == [long] == parse(hermes, [long[:999], long[999:]])
    many = '<tool_call>{"name":"g"}</tool_call>' * (MAX_CALLS + 3)
    found = parse(hermes, [many])
    assert found.count(G) == MAX_CALLS and found[-1] == '<tool_call>{"name":"g"}</tool_call>' * 3


MARKS = ["<tool_call>", "</tool_call>", "<function=f>", "</function>", "<parameter=a>", "1",
         "</parameter>", OPEN, CLOSE, "[", "]", "f(a=1)", "```tool_code\n", "```", "<|python_tag|>",
         '{"name":"f","arguments":{"a":1}}', '{"', "'", '"', "\\", "<think>", "</think>", " x "]


@pytest.mark.parametrize("module", ALL)
def test_any_mixture_is_read_the_same_however_it_is_cut(module):
    rng = random.Random(7)
    for _ in range(150):
        text = "".join(rng.choices(MARKS, k=rng.randrange(1, 25)))
        whole = parse(module, [text])
        assert parse(module, text) == whole, text
        if not any(isinstance(event, Call) for event in whole):
            assert whole == [text]


@pytest.mark.parametrize("module", ALL)
def test_hostile_length_takes_no_time(module):
    began = own_seconds()
    for unit in ("<tool_call>", f'{OPEN}"\\"', '<tool_call>"</tool_call>', "```tool_code'",
                 "<|python_tag|>{", '{"a":{}', f"{OPEN}'{CLOSE}", "<function=f></function>"):
        parse(module, [unit * (120_000 // len(unit))])
    assert own_seconds() - began < 5


def test_literals_are_only_literals():
    assert read_literal("[1, 'a' \"b\", {'k': (None, 2.5e1)}]") == [1, "ab", {"k": [None, 25.0]}]
    with pytest.raises(ValueError):
        read_literal("open('x')")


@pytest.mark.parametrize("template, family, module", [
    ("{{ '<tool_call>' }}", "qwen3", hermes), ("<tool_call>\n<function=x>", "qwen3_5", qwen_xml),
    ("<|tool_list_start|>", "lfm2", lfm2), ("Environment: ipython", "llama", llama),
    ("{{ x }}", "gemma3_text", gemma), ("{{ x }}", "llama", hermes), ("", "lfm2_moe", lfm2)])
def test_the_format_follows_from_template_and_family(template, family, module):
    assert formats.format_of(template, family) is module
