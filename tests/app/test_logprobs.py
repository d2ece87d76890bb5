"""Log probabilities in OpenAI's shapes, from the request to the response."""

import asyncio

import pytest

from app import openai_api, responses
from app.session import Outcome
from app.worker import Worker
from pyengine.decode.logprobs import Logprob
from pyengine.errors import EngineError
from tests.app.fakes import FakeLoader, FakeParts

USER = [{"role": "user", "content": "hi"}]
FOUND = [Logprob(97, -0.25, ((97, -0.25), (195, -2.0))), Logprob(98, -1.5, ())]


def token_bytes(i):
    return bytes([i])


def chat(**fields):
    return openai_api.parse_chat({"messages": USER, **fields})


def completion(**fields):
    return openai_api.parse_completion({"prompt": "x", **fields})


@pytest.mark.parametrize("request_, top", [
    (chat(), None), (chat(logprobs=False), None), (chat(logprobs=True), 0),
    (chat(logprobs=True, top_logprobs=20), 20), (chat(top_logprobs=0), None),
    (completion(), None), (completion(logprobs=0), 0), (completion(logprobs=5), 5),
])
def test_how_many_are_asked_for(request_, top):
    assert request_.sampling["top_logprobs"] == top and request_.tells_ids == (top is not None)


@pytest.mark.parametrize("parse, fields, param", [
    (chat, {"top_logprobs": 2}, "top_logprobs"),
    (chat, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    (chat, {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    (chat, {"logprobs": 1}, "logprobs"),
    (completion, {"logprobs": True}, "logprobs"),
    (completion, {"logprobs": 21}, "logprobs"),
    (completion, {"top_logprobs": 2}, "top_logprobs"),
])
def test_what_is_refused(parse, fields, param):
    with pytest.raises(EngineError) as caught:
        parse(**fields)
    assert caught.value.code == "E_BAD_REQUEST" and caught.value.facts["param"] == param


def test_a_chat_s_shape():
    respond = responses.Responder(chat(logprobs=True), "m", token_bytes=token_bytes)
    told = respond.whole([Outcome("ab", logprobs=FOUND)])["choices"][0]["logprobs"]
    assert told == {"content": [
        {"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": [
            {"token": "a", "logprob": -0.25, "bytes": [97]},
            {"token": "\ufffd", "logprob": -2.0, "bytes": [195]}]},
        {"token": "b", "logprob": -1.5, "bytes": [98], "top_logprobs": []},
    ]}
    assert respond.whole([Outcome("ab")])["choices"][0]["logprobs"] is None


def test_a_completion_s_shape_over_two_chunks():
    respond = responses.Responder(completion(logprobs=2), "m", token_bytes=token_bytes)
    told = [respond.chunk("a", None, [one.id], [one])["choices"][0]["logprobs"] for one in FOUND]
    assert told[0] == {"tokens": ["a"], "token_logprobs": [-0.25], "text_offset": [0],
                       "top_logprobs": [{"a": -0.25, "\ufffd": -2.0}]}
    assert told[1]["text_offset"] == [1] and told[1]["top_logprobs"] == [{}]


def test_without_a_tokenizer_ids_name_themselves():
    respond = responses.Responder(completion(logprobs=1), "m")
    told = respond.chunk("", None, [97], FOUND[:1])["choices"][0]["logprobs"]
    assert told["tokens"] == ["token_id:97"]


def told_by_worker(method, **params):
    """The events that answer one request."""
    async def run():
        parts = FakeParts()
        worker = Worker(parts, FakeLoader())
        for name, given in (("load", {"model": "m"}), (method, params)):
            await worker.handle({"v": 1, "id": name, "method": name, "params": given})
        assert not parts.of(method, "error")
        return parts
    return asyncio.run(run())


def test_the_worker_tells_them_whole_and_streamed():
    whole, = told_by_worker("chat", messages=USER, logprobs=True, top_logprobs=1).of("chat", "result")
    content = whole["choices"][0]["logprobs"]["content"]
    assert len(content) == whole["usage"]["completion_tokens"] == 7
    assert all(one["logprob"] == -0.5 and len(one["top_logprobs"]) == 1 for one in content)
    parts = told_by_worker("complete", prompt="x", logprobs=0, stream=True, max_tokens=3)
    found = [c["choices"][0]["logprobs"] for c in parts.of("complete", "chunk") if c["choices"]]
    assert [len(one["tokens"]) for one in found if one] == [1, 1, 1]
    plain = told_by_worker("complete", prompt="x", stream=True, max_tokens=3).of("complete", "chunk")
    assert all(c["choices"][0]["logprobs"] is None for c in plain)
