"""Structured output and demanded calls on the tiny fixture of every family: behind a thought that
the model opens, one that the prompt opened, and without any."""

import asyncio
import json

import pytest

from pyengine import models
from tests.app.fakes import FakeTemplate
from tests.app.grammar_kit import CLOSES, EOS, OPENS, TOKENS, ask, json_schema, open_session, valid
from tests.app.test_tool_calls import SIGNED
from app.tools import formats
from tests.checkpoints import device, folder

FAMILIES = ["llama", "qwen2", "qwen3", "qwen3_5_text", "gemma3", "lfm2"]
USER = [{"role": "user", "content": "go"}]
SCHEMA = {"type": "object", "required": ["name", "ok"], "properties": {
    "name": {"type": "string", "maxLength": 4}, "ok": {"type": "boolean"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
QUIET = {OPENS: -100, CLOSES: -100}
BRIEF = {OPENS: 40, CLOSES: 40, EOS: -100}  # opens a thought, and soon closes it


class Opens(FakeTemplate):
    """Opens the thought itself, as some of Qwen's templates do; shows tools."""

    opens = True

    def render(self, messages, tools=None, add_generation_prompt=True):
        text = super().render(messages) + "".join(t["function"]["name"] for t in tools or ())
        return text + "<think>" * self.opens


class Silent(Opens):
    opens = False


def encode(tokenizer, text):
    marked = text.split("<think>")
    ids = [TOKENS.index(char) for char in marked[0]]
    return ids + [OPENS] * (len(marked) - 1)


CASES = [(family, template, bias) for family in FAMILIES
         for template, bias in ((Silent, BRIEF), (Silent, QUIET), (Opens, {**BRIEF, OPENS: -100}))]


@pytest.mark.parametrize("family, template, bias", [
    case if i % 3 == 0 or case[0] == "qwen3_5_text" else pytest.param(*case, marks=pytest.mark.long)
    for i, case in enumerate(CASES)])
def test_the_answer_behind_the_thought_holds_to_the_schema(family, template, bias, goldens, monkeypatch):
    monkeypatch.setattr("tests.app.grammar_kit.AsciiTokenizer.encode",
                        lambda self, text, add_special_tokens=False: encode(self, text))
    opened, checkpoint = device("native"), folder(goldens / "models-tiny" / family)

    async def run():
        kind = formats.format_of("", checkpoint.config["model_type"])
        session = await open_session(opened, checkpoint=checkpoint, template=template,
                                     source=SIGNED[kind], context=512)
        try:
            body = {"messages": USER, "logit_bias": bias, "max_tokens": 400}
            found = await ask(session, json_schema(SCHEMA), **body)
            thought, mark, answer = found.text.rpartition("</think>")
            assert bool(mark) is (bias is not QUIET) and found.ids.count(CLOSES) == bool(mark)
            assert thought.startswith("<think>") is (bool(mark) and template is Silent)
            assert found.finish_reason == "stop" and valid(json.loads(answer), SCHEMA), found.text
            found = await ask(session, None, tools=[TOOL], tool_choice="required",
                              parallel_tool_calls=False, **body)
            (call,) = found.tool_calls
            assert found.finish_reason == "tool_calls" and bool(mark) == bool(found.text)
            assert valid(json.loads(call["function"]["arguments"]), SCHEMA)
        finally:
            await session.close()
    asyncio.run(run())


def test_every_family_that_chats_is_here():
    chat = {module for name, module in models.families().items() if name != "moonshine"}
    assert chat - {models.find(name) for name in ("llama", "qwen2", "qwen3", "qwen3_5_text",
                                                  "gemma3_text", "gemma", "lfm2")} == set()
