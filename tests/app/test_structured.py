"""Structured output natively: a tiny model of random logits, XGrammar in Node."""

import asyncio
import json
import random
import re

import pytest

from app import structured
from app.openai_api import parse_chat, parse_completion
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError
from tests.app.grammar_kit import (
    CLOSES, EOS, OPENS, TOKENS, ask, json_schema, open_session, random_schema, valid,
)
from tests.checkpoints import device

PERSON = {"type": "object", "required": ["name", "age"], "additionalProperties": False,
          "properties": {"name": {"type": "string", "maxLength": 5},
                         "age": {"type": "integer", "minimum": 0, "maximum": 99}}}
TREE = {"type": "object", "required": ["v"], "properties": {
    "v": {"type": "boolean"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}}
ENDLESS = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
EBNF = 'root ::= "yes " num | "no"\nnum ::= [0-9] [0-9]?'
USER = [{"role": "user", "content": "go"}]


def on_session(test, on="native", **options):
    """Runs `await test(session)` in one event loop; afterwards nothing of the back end is left."""
    opened = device(on)

    async def run():
        session = await open_session(opened, **options)
        try:
            result = await test(session)
            assert (await session.grammars_live())["matchers"] == 0
            return result
        finally:
            await session.close()
            assert await session.grammars_live() == {"compiled": 0, "matchers": 0}
    return asyncio.run(run())


def test_a_hundred_random_schemas():
    rng = random.Random(6)
    schemas = [random_schema(rng) for _ in range(100)]

    async def all_of_them(session):
        for number, schema in enumerate(schemas):
            outcome = await ask(session, json_schema(schema), seed=number)
            assert outcome.finish_reason == "stop", (schema, outcome.text)
            assert valid(json.loads(outcome.text), schema), (schema, outcome.text)
        return await session.grammars_live()

    assert on_session(all_of_them)["compiled"] == 8
    assert len({json.dumps(s) for s in schemas}) > 70


def test_every_kind_of_format():
    async def kinds(session):
        found = await ask(session, {"type": "json_object"}, max_tokens=60, seed=3,
                          logit_bias={TOKENS.index("}"): 8, TOKENS.index('"'): 3})
        assert isinstance(json.loads(found.text), dict)
        found = await ask(session, {"type": "regex", "regex": "^ab(c|d){2,4}[0-9]+z$"})
        assert re.fullmatch("ab(c|d){2,4}[0-9]+z", found.text) and found.finish_reason == "stop"
        found = await ask(session, {"type": "grammar", "grammar": EBNF})
        assert re.fullmatch("yes [0-9]{1,2}|no", found.text)
        found = await ask(session, json_schema(TREE), seed=2)
        json.loads(found.text)
        found = await ask(session, json_schema(PERSON), temperature=0)
        assert valid(json.loads(found.text), PERSON)
    on_session(kinds)


def test_seeds_reproduce_on_both_devices():
    async def texts(session):
        return [(await ask(session, json_schema(PERSON), seed=s)).text for s in (1, 2, 1, 3)]
    native, numpy = on_session(texts), on_session(texts, on="numpy")
    assert native == numpy and native[0] == native[2] != native[1]


def test_length_stop_strings_and_logprobs():
    async def run(session):
        cut = await ask(session, json_schema(PERSON), max_tokens=3)
        assert cut.finish_reason == "length" and len(cut.ids) == 3
        ended = await ask(session, json_schema(PERSON), stop=["age"])
        assert ended.finish_reason == "stop" and ended.text.endswith(', "')
        told = await ask(session, json_schema(PERSON), logprobs=2)
        free = await ask(session, None, logprobs=2, max_tokens=1)
        assert [one.id for one in told.logprobs] == told.ids
        # of the model's own logits: what the grammar forbids is among the likeliest
        assert told.logprobs[0].top == free.logprobs[0].top
        assert TOKENS[told.logprobs[0].top[0][0]] != "{"
    on_session(run)


def test_a_cancel_leaves_the_engine_usable():
    async def run(session):
        want = (await ask(session, json_schema(PERSON))).text
        token, seen = CancelToken(), []
        request = parse_completion({"prompt": "go", "seed": 1, "temperature": 1,
                                    "response_format": json_schema(PERSON)})
        from app.session import Outcome
        outcome = Outcome()
        async for piece in session.generate(request, token, outcome):
            seen.append(piece)
            if len(seen) == 4:
                token.cancel()
        assert outcome.finish_reason == "cancel" and 4 <= len(outcome.ids) <= 5
        pieces = session.generate(request, None, Outcome())
        await anext(pieces)
        await pieces.aclose()  # the reader left
        assert (await session.grammars_live())["matchers"] == 0
        assert (await ask(session, json_schema(PERSON))).text == want
        plain = await ask(session, None, max_tokens=5)
        assert plain.finish_reason in ("length", "stop")
    on_session(run)


def test_the_grammar_begins_behind_the_thinking():
    """A bias makes the model open a block, and close it: in between anything goes."""
    async def run(session):
        bias = {OPENS: 12, CLOSES: 12}
        found = await ask(session, json_schema(PERSON), messages=USER, logit_bias=bias,
                          max_tokens=200)
        thought, answer = found.text.split("</think>")
        assert found.ids.count(CLOSES) == 1 and thought.startswith("<think>")
        assert valid(json.loads(answer), PERSON)
        # a completion has no thinking: the marks are no text of a grammar
        found = await ask(session, json_schema(PERSON), logit_bias=bias)
        assert OPENS not in found.ids and valid(json.loads(found.text), PERSON)
    on_session(run)


@pytest.mark.parametrize("ids, found", [
    ([5, 6], (OPENS, False)), ([5, OPENS, 7], (None, True)), ([5, OPENS, CLOSES], (None, False)),
    ([OPENS, CLOSES, *[9] * 20], (OPENS, False)), ([OPENS, CLOSES, *[9] * 20, OPENS], (None, True)),
])
def test_whether_the_prompt_has_begun_to_think(ids, found):
    assert structured._thinking(OPENS, CLOSES, ids) == found


BAD = [
    json_schema({"type": "string", "minLength": 5, "maxLength": 2}),
    json_schema({"type": "object", "properties": {"a": {"type": "number", "minimum": 3, "maximum": 1}}}),
    json_schema({"minimum": 3}), json_schema({"type": "integer", "minimum": 0.2, "maximum": 0.8}),
    json_schema({"enum": []}), json_schema({"$ref": "#"}), json_schema(ENDLESS),
    json_schema({"$ref": "#/$defs/none"}), json_schema({"type": "objec"}),
    json_schema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    json_schema({"not": {}}), json_schema({"type": "array", "uniqueItems": True}),
    json_schema({"allOf": [{"type": "string"}, {"type": "null"}]}), json_schema({"required": ["x"]}),
    json_schema({"description": "x" * 70_000}), json_schema([]), json_schema({"items": 3}),
    json_schema(json.loads('{"items":' * 80 + "{}" + "}" * 80)), json_schema({}, strict=1),
    {"type": "json_schema"}, {"type": "yaml"}, {"type": "regex"}, {"type": "regex", "regex": 7}, "json",
    {"type": "text", "regex": "a"}, {"type": "grammar", "grammar": ""}, {"type": ["text"]},
]


@pytest.mark.parametrize("given", BAD, ids=range(len(BAD)))
def test_refused_before_any_model(given):
    for parse, body in ((parse_chat, {"messages": USER}), (parse_completion, {"prompt": "x"})):
        with pytest.raises(EngineError) as info:
            parse({**body, "response_format": given})
        assert info.value.code == "E_BAD_REQUEST"
        assert info.value.facts["param"].startswith("response_format")


def test_text_and_nothing_are_no_grammar():
    assert structured.parse({}) is None is structured.parse({"response_format": {"type": "text"}})


REFUSED = [
    {"type": "regex", "regex": "[a-z"}, {"type": "regex", "regex": "(a"},
    {"type": "grammar", "grammar": "root ::= x"}, {"type": "grammar", "grammar": "hello"},
    {"type": "grammar", "grammar": "root ::= root"}, {"type": "grammar", "grammar": 'root ::= root "a"'},
    json_schema({"type": "string", "pattern": "(a"}),
]


def test_refused_by_the_library_and_a_good_one_works_afterwards():
    async def run(session):
        for given in REFUSED:
            with pytest.raises(EngineError) as info:
                await ask(session, given)
            assert info.value.code == "E_BAD_REQUEST", given
            assert info.value.facts["param"] == "response_format"
            assert len(info.value.facts["got"]) > 10
        assert valid(json.loads((await ask(session, json_schema(PERSON))).text), PERSON)
    on_session(run)


def test_one_that_takes_too_long_is_ended(monkeypatch):
    slow = json_schema({"type": "array", "maxItems": 5000,
                        "items": {"type": "string", "maxLength": 60_000}})

    async def run(session):
        await ask(session, json_schema(PERSON))
        begin = session._grammars.begin
        monkeypatch.setattr(session._grammars, "begin", lambda g: begin(g, seconds=0.01))
        with pytest.raises(EngineError) as info:
            await ask(session, slow)
        assert info.value.code == "E_BAD_REQUEST" and "over 0.01 s" in info.value.facts["got"]
        monkeypatch.undo()
        assert valid(json.loads((await ask(session, json_schema(PERSON))).text), PERSON)
    on_session(run)


def test_without_a_back_end():
    async def none():
        raise EngineError("E_NO_GRAMMAR", reason="there is no Node.js")

    async def run(session):
        with pytest.raises(EngineError) as info:
            await ask(session, json_schema(PERSON))
        assert info.value.code == "E_NO_GRAMMAR"
        assert len((await ask(session, None, max_tokens=3)).ids) >= 1
    on_session(run, open_grammar=none)


@pytest.mark.parametrize("call", [5, 8, 9])  # a forward, a choice that was masked, the next
def test_a_device_that_fails_once_loses_no_place_in_the_grammar(call):
    async def run(session):
        grammar = structured.parse({"response_format": json_schema(PERSON)})
        want = await ask(session, json_schema(PERSON), temperature=0)
        ids, runner = [TOKENS.index(char) for char in "go"], session.engine._loop._runner
        guide = await structured.guide(session._grammars, grammar, session.tokenizer, 131, ids, False)
        whole, calls, written = runner.run, 0, []

        async def failing(*given, **named):
            nonlocal calls
            calls += 1
            if calls == call:
                raise EngineError("E_GPU", what="a test", detail="fails once")
            return await whole(*given, **named)

        runner.run = failing
        while not written or written[-1] != EOS:
            try:
                async for batch in session.engine.generate_ids(
                        ids + written, SamplingParams(temperature=0, seed=1), stop_ids=[EOS], guide=guide,
                        written=len(written)):
                    written += batch.ids
            except EngineError as error:
                assert error.code == "E_GPU" and calls == call
        runner.run = whole
        await guide.close()
        assert written == want.ids and calls > call
    on_session(run)


def test_rollback_goes_back():
    async def run(session):
        await ask(session, {"type": "grammar", "grammar": EBNF})
        grammar = structured.parse({"response_format": {"type": "grammar", "grammar": EBNF}})
        matcher = await session._grammars.begin(grammar)
        first = matcher.mask
        for char in "no":
            matcher.advance(TOKENS.index(char))
            await matcher.settle()
        assert matcher.mask[EOS // 8] >> EOS % 8 & 1 and not matcher.finished
        await matcher.rollback(2)
        assert matcher.mask == first
        await matcher.close()
        await matcher.close()
    on_session(run)
