"""Calls that a request demands, in each format: a tiny model of random logits can only write them."""

import json

import pytest

from app.openai_api import parse_chat
from app.tools.grammar import Function, calls_grammar
from app.tools import formats, gemma, hermes, lfm2, llama, qwen_xml
from pyengine.errors import EngineError
from tests.app.grammar_kit import CLOSES, EOS, OPENS, TOKENS, AsciiTokenizer, ask, takes, valid
from tests.app.test_structured import on_session
from tests.app.test_tool_calls import SIGNED

USER = [{"role": "user", "content": "go"}]
NODE = {"type": "object", "properties": {"v": {"type": "boolean"}, "next": {
    "anyOf": [{"type": "null"}, {"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["v", "next"]}
SCHEMAS = {
    "flat": {"type": "object", "required": ["n", "s"], "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 250}, "s": {"type": "string", "maxLength": 5},
        "e": {"type": "string", "enum": ["it's", 'say "x"', "<b>"]},
        "d": {"type": "number", "minimum": -1, "maximum": 1}, "p": {"type": "string", "pattern": "^.{2}$"}}},
    "nested": {"type": "object", "required": ["list", "node"], "$defs": {"node": NODE}, "properties": {
        "list": {"type": "array", "maxItems": 3, "items": {"enum": [True, None, "a", -2.5]}},
        "either": {"type": ["boolean", "null"]}, "node": {"$ref": "#/$defs/node"}}},
    "empty": {"type": "object", "properties": {}},
    "free": {"type": "object", "required": ["t"], "properties": {"t": {"type": "string"}}},
    "odd-name.x": {"type": "object", "required": ["a b", "True"], "properties": {
        "a b": {"type": "boolean"}, "True": {"type": "null"}}},
    "open": {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"],
             "additionalProperties": {"type": "boolean"}},
}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}
         for name, schema in SCHEMAS.items()]
RANDOM = [tool for tool in TOOLS if tool["function"]["name"] != "free"]  # random text has no end
BIAS = {EOS: 4, **{TOKENS.index(text): 5 for text in '"}])'}}  # lists end soon


class Template:
    """Shows the names of tools, so that the prompt is short."""

    def render(self, messages, tools=None, add_generation_prompt=True):
        return "".join(t["function"]["name"] for t in tools or ()) + messages[-1]["content"]


class Plain(AsciiTokenizer):
    """A model that does not think."""

    def token_to_id(self, token):
        return None if "think" in token else super().token_to_id(token)


class Marked(Plain):
    """With the formats' marks as special tokens."""

    marks = ["<|tool_call_start|>", "<|tool_call_end|>", "<tool_call>", "</tool_call>"]
    vocab_size = len(TOKENS) + len(marks)
    special_ids = frozenset([0, *range(len(TOKENS), vocab_size)])

    def token_to_id(self, token):
        return len(TOKENS) + self.marks.index(token) if token in self.marks else super().token_to_id(token)

    def all_tokens(self):
        return [*TOKENS, *self.marks]

    def tokens(self, ids, skip_special_tokens=True):
        known = TOKENS if skip_special_tokens else TOKENS + self.marks
        return [known[i] for i in ids if 0 < i < len(known)]


def checked(outcome, names):
    """The calls of an answer, each valid."""
    assert outcome.finish_reason == "tool_calls", outcome
    assert outcome.text == "" and outcome.tool_calls
    for call in outcome.tool_calls:
        right(call, names)
    return outcome.tool_calls


def right(call, names):
    """Fails where a call is not of one of `names`, or its arguments break the schema."""
    function = call["function"]
    assert function["name"] in names
    arguments, schema = json.loads(function["arguments"]), SCHEMAS[function["name"]]
    assert set(schema.get("required", ())) <= set(arguments)
    declared = schema["properties"]
    assert schema.get("additionalProperties") or set(arguments) <= set(declared)
    for name, value in arguments.items():
        if name != "node":
            assert valid(value, declared.get(name, {"type": "boolean"})), function
        while name == "node" and value is not None:
            assert isinstance(value["v"], bool) and set(value) == {"v", "next"}
            value = value["next"]


def calls(module, tokenizer=Plain(), seeds=range(4), **body):
    """The checked calls of answers with several seeds."""
    async def run(session):
        found = []
        for seed in seeds:
            body.setdefault("tools", RANDOM)
            outcome = await ask(session, None, messages=USER, seed=seed, logit_bias=BIAS, **body)
            names = SCHEMAS if body["tool_choice"] == "required" else [body["tool_choice"]["function"]["name"]]
            found.append(checked(outcome, names))
        return found
    return on_session(run, tokenizer=tokenizer, template=Template, source=SIGNED[module])


@pytest.mark.parametrize("module", SIGNED)
def test_some_function_of_any(module):
    found = calls(module, tool_choice="required", max_tokens=900)
    assert len({call["function"]["name"] for one in found for call in one}) > 1


@pytest.mark.parametrize("module", SIGNED)
@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "free"])
def test_the_named_function(module, name):
    choice = {"type": "function", "function": {"name": name}}
    tools = [tool for tool in TOOLS if tool["function"]["name"] in (name, "free")]
    found = calls(module, seeds=[3], tool_choice=choice, tools=tools, parallel_tool_calls=False)
    assert [len(one) for one in found] == [1]


@pytest.mark.parametrize("module", [lfm2, hermes, qwen_xml])
def test_marks_that_are_special_tokens(module):
    assert len(formats.VISIBLE) >= 4
    for one in calls(module, Marked(), tool_choice="required", max_tokens=900):
        assert module is lfm2 or len(one) == 1


@pytest.mark.parametrize("module, tokenizer", [*((module, Plain()) for module in SIGNED), (lfm2, Marked())])
def test_strict_functions_are_called_right_or_not_at_all(module, tokenizer):
    """A bias makes the model begin a call by itself; what it goes on with is right, or no call."""
    begin = {hermes: "<", qwen_xml: "<", gemma: "`", lfm2: "<", llama: "{"}[module]
    begin = tokenizer.token_to_id(lfm2.START) or TOKENS.index(begin)

    async def run(session):
        texts = calls = 0
        for seed in range(4):
            outcome = await ask(session, None, messages=USER, tools=RANDOM, seed=seed, max_tokens=300,
                                logit_bias={**BIAS, begin: seed * 4, EOS: 1}, parallel_tool_calls=False)
            calls += len(outcome.tool_calls)
            texts += not outcome.tool_calls
            for call in outcome.tool_calls:
                right(call, SCHEMAS)
        assert texts and (calls or tokenizer.token_to_id(lfm2.START) is None)
        grammar, _ = session._dialect.guided(parse_chat({"messages": USER, "tools": TOOLS[:3]}), Plain())
        text = module.write([("empty", {})]).removesuffix(lfm2.END)
        assert await takes(session, grammar, text) == (len(text), True)
        wrong = module.write([("wrong", {})])
        assert (await takes(session, grammar, wrong))[0] < len(wrong)
        assert await takes(session, grammar, "Hello, you. < [x]") == (17, True)
    on_session(run, tokenizer=tokenizer, template=Template, source=SIGNED[module])


def test_a_thought_comes_before_the_call():
    class Thinks(Marked):
        token_to_id = AsciiTokenizer.token_to_id

    async def run(session):
        found = await ask(session, None, messages=USER, tools=TOOLS[2:3], tool_choice="required",
                          logit_bias={OPENS: 12, CLOSES: 12, EOS: -100}, max_tokens=200,
                          parallel_tool_calls=False)
        assert found.finish_reason == "tool_calls" and found.text.startswith("<think>")
        assert found.text.endswith("</think>") and len(found.tool_calls) == 1
    for tokenizer in (AsciiTokenizer(), Thinks()):
        on_session(run, tokenizer=tokenizer, template=Template, source=SIGNED[hermes])


TEXTS = ["a", "", "x < y </p> </parameter </paramete> <<</parameterr>", 'say "hi"', "it's \\ \n\n two\n"]


@pytest.mark.parametrize("module", SIGNED)
def test_what_the_format_writes_is_let_pass(module):
    """Of free text; a thing more than one call ends, and half of one does not."""
    functions = [Function.of(tool, 0) for tool in TOOLS if tool["function"]["name"] == "free"]

    async def run(session):
        await ask(session, {"type": "regex", "regex": "a"})
        grammar = calls_grammar(module, functions, False, True)
        for value in TEXTS:
            text = module.write([("free", {"t": value})]).removesuffix(lfm2.END)
            if module in (lfm2, gemma):  # strings as JSON has them
                text = text.replace(repr(value), json.dumps(value))
            assert await takes(session, grammar, text) == (len(text), True), text
            assert await takes(session, grammar, text[:-1]) == (len(text) - 1, False)
            assert (await takes(session, grammar, text + text))[0] == len(text)
    on_session(run, tokenizer=Plain(), template=Template, source=SIGNED[module])


@pytest.mark.parametrize("parameters", [
    {"type": "string"}, {"anyOf": [{"type": "object"}]}, {"$ref": "#/$defs/a", "$defs": {"a": {}}},
    {"type": "object", "properties": {"a": {"not": {}}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "\\v"}}},
    {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}])
@pytest.mark.parametrize("module", [hermes, gemma, qwen_xml])
def test_schemas_that_cannot_be_demanded(module, parameters):
    tools = [TOOLS[0], {"type": "function", "function": {"name": "x", "parameters": parameters}}]

    async def run(session):
        with pytest.raises(EngineError) as info:
            await ask(session, None, messages=USER, tools=tools, tool_choice="required")
        assert info.value.code == "E_BAD_REQUEST"
        assert info.value.facts["param"].startswith("tools[1].function.parameters")
    on_session(run, template=Template, source=SIGNED[module])


@pytest.mark.parametrize("param, body", [
    ("tool_choice", {"tool_choice": "required", "tools": None}),
    ("tool_choice", {"tool_choice": "any"}), ("tool_choice", {"tool_choice": 3}),
    ("tool_choice", {"tool_choice": {"type": "function", "function": {"name": "no"}}}),
    ("tool_choice", {"tool_choice": {"type": "function"}}), ("tool_choice", {"tool_choice": {"name": "flat"}}),
    ("tool_choice", {"tool_choice": "required", "response_format": {"type": "json_object"}}),
    ("tools[0].function.strict", {"tools": [{"function": {"name": "f", "strict": "yes"}}]}),
    ("continue_final_message", {"tool_choice": "required", "continue_final_message": True,
                                "messages": [*USER, {"role": "assistant", "content": "a"}]}),
])
def test_wrong_choices_name_their_parameter(param, body):
    with pytest.raises(EngineError) as caught:
        parse_chat({"messages": USER, "tools": TOOLS, **body})
    assert caught.value.code == "E_BAD_REQUEST" and caught.value.facts["param"] == param


def test_nothing_passes_that_the_reader_could_not_take():
    schema = {"type": "object", "required": ["n", "s"], "properties": {"n": {"type": "number"}, "s": {"type": "string"}}}

    async def run(session):
        await ask(session, {"type": "regex", "regex": "a"})
        grammar = calls_grammar(llama, [Function("f", schema, "x")], False, True)
        for n, s, right in [("-1.5e99", "a", True), ("12", "\\u00e9\\n", True), ("1e999", "a", False),
                            ("1", "\\ud800", False), ("1", "\\uDfff", False), ("1", "\\ud7ff", True)]:
            text = f'{{"name": "f", "parameters": {{"n": {n}, "s": "{s}"}}}}'
            assert ((await takes(session, grammar, text)) == (len(text), True)) is right, text
    on_session(run, tokenizer=Plain(), template=Template, source=SIGNED[llama])


def test_llamas_and_other_formats_are_all_here():
    assert set(SIGNED) == {hermes, qwen_xml, lfm2, gemma, llama}
