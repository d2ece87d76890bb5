"""Tools from OpenAI's request to OpenAI's answer, over an engine that writes each format's text."""

import asyncio
import json

import pytest

from app import openai_api, tool_calls
from app.tools import gemma, hermes, lfm2, llama, qwen_xml
from pyengine.errors import EngineError
from pyengine.text.chat_template import ChatTemplate
from tests.app.fakes import FakeEngine, FakeLoader, FakeParts, Piece, fake_checkpoint
from tests.app.fakes import FakeTokenizer as Bytes
from tests.app.test_worker import message
from app.session import Session
from app.worker import Worker

TOOL = {"type": "function", "function": {"name": "f", "description": "Adds.", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "s": {"type": "string"}}}}}
USER = {"role": "user", "content": "q"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 3}'}}
TURN = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "RESULT"}]

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
KNOWS = """{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}<tool_call>
{{ c.function | tojson }}</tool_call>{% endfor %}{% endfor %}<assistant>"""
STRICT = """{% for m in messages %}{% if m.role not in ('user', 'assistant') or
(m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}
<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"""


class Says(FakeEngine):
    """Writes `text` in pieces of `cut` characters."""

    def __init__(self, text, cut=3, end="stop"):
        super().__init__(context=100_000)
        self.text, self.cut, self.end = text, cut, end

    async def generate(self, ids, params, *, cancel=None, **options):
        self.calls.append((bytes(ids).decode(), options))
        self.told = 0
        for at in range(0, len(self.text), self.cut):
            await asyncio.sleep(0)
            self.told += 1
            yield Piece(self.text[at : at + self.cut], [at])
        yield Piece("", [], self.end)


def answer(text, body, source=KNOWS, family="x", **engine):
    """(the events of one request, the engine)."""
    engine = Says(text, **engine)

    async def run():
        async def make_template(checkpoint):
            return ChatTemplate(checkpoint.chat_template, {})

        checkpoint = fake_checkpoint(chat_template=source, config={"model_type": family})

        class Loader(FakeLoader):
            async def load(self, params, progress):
                return Session(engine, "m", checkpoint, Bytes(), make_template)

        parts = FakeParts()
        worker = Worker(parts, Loader())
        await worker.handle(message("l", "load", {"model": "m"}))
        await worker.handle(message("a", "chat", {"messages": [USER], "tools": [TOOL], **body}))
        return parts

    return asyncio.run(run()), engine


SIGNED = {hermes: KNOWS, qwen_xml: "<function=" + KNOWS, lfm2: "<|tool_list_start|>" + KNOWS,
          llama: "Environment: ipython" + KNOWS.replace("<tool_call>", ""),
          gemma: "tool_code" + PLAIN}


@pytest.mark.parametrize("module", SIGNED)
def test_a_call_comes_whole_and_streamed(module):
    text = "" if module is llama else "Let me see.\n\n"
    text += module.write([("f", {"a": 3, "s": "x'y"}), ("f", {"a": 4})])
    parts, _ = answer(text, {}, SIGNED[module])
    (whole,) = parts.of("a", "result")
    (choice,) = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == (None if module is llama else "Let me see.")
    calls = choice["message"]["tool_calls"]
    told = [json.loads(c["function"]["arguments"]) for c in calls]
    assert told == [{"a": 3, "s": "x'y"}, {"a": 4}]
    assert {c["type"] for c in calls} == {"function"} and len({c["id"] for c in calls}) == 2
    assert all(set(c) == {"id", "type", "function"} for c in calls)

    parts, _ = answer(text, {"stream": True}, SIGNED[module])
    chunks = parts.of("a", "chunk")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(d.get("content", "") for d in deltas) == (choice["message"]["content"] or "")
    joined = {}
    for call in (c for d in deltas for c in d.get("tool_calls", [])):
        slot = joined.setdefault(call["index"], {"arguments": ""})
        slot |= {k: call[k] for k in ("id", "type") if k in call}
        slot["name"] = call["function"].get("name", slot.get("name"))
        slot["arguments"] += call["function"]["arguments"]
    assert [joined[i]["name"] for i in (0, 1)] == ["f", "f"] and joined[0]["id"] != joined[1]["id"]
    assert [joined[i]["arguments"] for i in (0, 1)] == [c["function"]["arguments"] for c in calls]


def test_an_answer_without_a_call_is_as_it_was_written():
    text = " one < two \n"
    for body in ({}, {"tools": None}, {"tool_choice": "none"}):
        (whole,) = answer(text, body)[0].of("a", "result")
        assert whole["choices"][0]["message"] == {"role": "assistant", "content": text}
        assert whole["choices"][0]["finish_reason"] == "stop"


def test_what_looks_like_a_call_is_text_where_no_tools_are_allowed():
    text = hermes.write([("f", {})])
    (whole,) = answer(text, {"tool_choice": "none"})[0].of("a", "result")
    assert whole["choices"][0]["message"]["content"] == text


def test_half_a_call_at_the_length_limit_is_text():
    text = hermes.write([("f", {"a": 1})])[:20]
    (whole,) = answer(text, {}, end="length")[0].of("a", "result")
    assert whole["choices"][0]["message"]["content"] == text
    assert whole["choices"][0]["finish_reason"] == "length"


def test_one_call_is_enough_where_parallel_ones_are_refused():
    text = hermes.write([("f", {"a": 1}), ("f", {"a": 2})]) + "x" * 99
    parts, engine = answer(text, {"parallel_tool_calls": False})
    (choice,) = parts.of("a", "result")[0]["choices"]
    assert len(choice["message"]["tool_calls"]) == 1 and choice["finish_reason"] == "tool_calls"
    assert engine.told < len(text) / 3 - 30, "it must stop"


def test_a_thought_that_the_prompt_opened_holds_no_calls():
    call = hermes.write([("f", {"a": 1})])
    (whole,) = answer(f"{call}</think>{call}", {}, KNOWS + "<think>\n")[0].of("a", "result")
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == f"{call}</think>"
    assert len(choice["message"]["tool_calls"]) == 1


def test_a_template_that_knows_tools_gets_them_itself():
    _, engine = answer("ok", {"messages": TURN})
    prompt = engine.calls[0][0]
    assert prompt.startswith("<tools>" + json.dumps(TOOL)) and "<tool>RESULT" in prompt
    assert '{"name": "f", "arguments": {"a": 3}}' in prompt and "You can call" not in prompt


@pytest.mark.parametrize("source, family, said", [
    (PLAIN, "llama", hermes), (STRICT, "llama", hermes), (STRICT, "gemma3_text", gemma)])
def test_a_template_without_tools_gets_them_as_text(source, family, said):
    more = [*TURN, {"role": "tool", "tool_call_id": "c2", "content": "SECOND"}]
    _, engine = answer("ok", {"messages": more}, source, family)
    prompt = engine.calls[0][0]
    assert prompt.count("You can call functions") == 1 and json.dumps(TOOL["function"]) in prompt
    assert said.write([("f", {"a": 3})]) in prompt
    results = prompt[prompt.rindex("<user>") :]
    assert "RESULT" in results and "SECOND" in results and "<tool>" not in prompt
    assert ("<system>" in prompt) is (source is PLAIN)


def test_calls_that_a_template_leaves_out_are_put_into_their_message():
    source = "<|tool_list_start|>{{ tools | tojson }}" + PLAIN
    _, engine = answer("ok", {"messages": TURN}, source)
    prompt = engine.calls[0][0]
    assert "<assistant><|tool_call_start|>[f(a=3)]<|tool_call_end|><tool>RESULT" in prompt


def test_special_tokens_that_mark_calls_are_shown():
    class Tokenizer:
        def token_to_id(self, token):
            return {lfm2.START: 10, lfm2.END: 11}.get(token)

    assert tool_calls.visible_ids(Tokenizer()) == {10, 11}
    _, engine = answer("ok", {"tools": None})
    assert "visible" not in engine.calls[0][1]


def many(count):
    return [{"function": {"name": f"f{i}"}} for i in range(count)]


@pytest.mark.parametrize("param, body", [
    ("tool_choice", {"tool_choice": "auto", "tools": None}),
    ("parallel_tool_calls", {"parallel_tool_calls": 1}),
    ("tools", {"tools": {}}), ("tools", {"tools": many(129)}),
    ("tools", {"tools": [{"function": {"name": "f", "description": "x" * 200_000}}]}),
    ("tools[0]", {"tools": ["f"]}), ("tools[0]", {"tools": [{"type": "web_search"}]}),
    ("tools[1].function.name", {"tools": [TOOL, TOOL]}),
    ("tools[0].function.name", {"tools": [{"function": {"name": "a b"}}]}),
    ("tools[0].function.parameters", {"tools": [{"function": {"name": "f", "parameters": []}}]}),
    ("messages[1].tool_calls", {"messages": [USER, {**USER, "tool_calls": [CALL]}]}),
    ("messages[0].tool_calls[0]", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
    ("messages[0].tool_calls[0].function.arguments", {"messages": [
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1"}}]}]}),
    ("messages[0].tool_call_id", {"messages": [{"role": "tool", "tool_call_id": 3}]}),
])
def test_bad_requests_name_their_parameter(param, body):
    with pytest.raises(EngineError) as caught:
        openai_api.parse_chat({"messages": [USER], "tools": [TOOL], **body})
    assert caught.value.code == "E_BAD_REQUEST" and caught.value.facts["param"] == param
