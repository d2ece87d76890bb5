import asyncio

import pytest

from app.worker import Worker
from pyengine.errors import EngineError
from tests.app.fakes import WORDS, FakeEngine, FakeLoader, FakeParts, settled

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def message(id_, method, params=None):
    return {"v": 1, "id": id_, "method": method, "params": params or {}}


def make(**loader):
    parts = FakeParts()
    return Worker(parts, FakeLoader(**loader)), parts


async def loaded(**loader):
    worker, parts = make(**loader)
    await worker.handle(message("load", "load"))
    assert parts.of("load", "result"), parts.events
    return worker, parts


def code(parts, id_):
    (error,) = parts.of(id_, "error")
    assert set(error) == {"code", "message", "next_step", "facts"}
    return error["code"]


def test_load_then_chat_and_complete():
    async def run():
        worker, parts = await loaded()
        (info,) = parts.of("load", "result")
        assert info["model"] == "m" and info["context"] == 64 and info["chat"] is True
        assert [d["stage"] for d in parts.of("load", "progress")] == ["read", "ready"]
        await worker.handle(message("a", "chat", CHAT))
        (answer,) = parts.of("a", "result")
        assert answer["choices"][0]["message"]["content"] == " ".join(WORDS) + " "
        assert answer["usage"] == {"prompt_tokens": 19, "completion_tokens": 7, "total_tokens": 26}
        assert answer["timings"]["tokens"] == 7 and answer["timings"]["ttft_ms"] >= 0
        await worker.handle(message("b", "complete", {"prompt": [5, 6], "max_tokens": 2}))
        (answer,) = parts.of("b", "result")
        assert answer["choices"][0] == {
            "index": 0,
            "finish_reason": "length",
            "logprobs": None,
            "text": "one two ",
        }

    asyncio.run(run())


def test_an_answer_is_continued_from_its_text():
    async def run():
        engine = FakeEngine()
        worker, parts = await loaded(make=lambda: engine)
        begun = {"role": "assistant", "content": "one tw"}
        body = {"messages": [*CHAT["messages"], begun], "continue_final_message": True}
        await worker.handle(message("a", "chat", body))
        await worker.handle(message("b", "chat", CHAT))
        assert parts.of("a", "result")
        (going_on, plain) = engine.calls
        # what the model reads is the prompt that began the answer, and then the answer itself
        assert bytes(going_on.ids) == bytes(plain.ids) + b"one tw"
        assert going_on.continues is True and plain.continues is False

    asyncio.run(run())


def test_streams_are_chunks_and_an_empty_result():
    async def run():
        worker, parts = await loaded()
        body = {**CHAT, "stream": True, "max_tokens": 2, "stream_options": {"include_usage": True}}
        await worker.handle(message("a", "chat", body))
        chunks = parts.of("a", "chunk")
        assert [c["choices"][0]["delta"].get("content") for c in chunks[:-1]] == [
            "",
            "one ",
            "two ",
            None,
        ]
        assert (
            chunks[-2]["choices"][0]["finish_reason"] == "length"
            and chunks[-2]["timings"]["tokens"] == 2
        )
        assert chunks[-1]["usage"]["completion_tokens"] == 2
        assert parts.events[-1]["event"] == "result" and parts.events[-1]["data"] == {}

    asyncio.run(run())


def test_token_ids_on_request():
    async def run():
        worker, parts = await loaded()
        body = {"prompt": [5], "max_tokens": 3, "return_token_ids": True}
        await worker.handle(message("a", "complete", body))
        assert parts.of("a", "result")[0]["choices"][0]["token_ids"] == [0, 1, 2]
        await worker.handle(message("b", "complete", {**body, "stream": True}))
        assert [c["choices"][0].get("token_ids") for c in parts.of("b", "chunk")] == [
            [0],
            [1],
            [2],
            None,
        ]

    asyncio.run(run())


def test_one_generation_at_a_time_in_order():
    async def run():
        engine = FakeEngine()
        worker, parts = await loaded(make=lambda: engine)
        await asyncio.gather(
            *(worker.handle(message(f"r{i}", "complete", {"prompt": [i]})) for i in range(5))
        )
        assert engine.most_running == 1
        assert [call.ids for call in engine.calls] == [[i] for i in range(5)]
        assert [e["id"] for e in parts.events if e["event"] == "result"][1:] == [
            f"r{i}" for i in range(5)
        ]

    asyncio.run(run())


def test_cancel_while_running_and_while_queued():
    async def run():
        engine = FakeEngine(gate=asyncio.Event())
        worker, parts = await loaded(make=lambda: engine)
        tasks = [
            asyncio.ensure_future(worker.handle(message(i, "complete", {"prompt": "x"})))
            for i in "abc"
        ]
        await settled()
        for target in "ab":
            await worker.handle(message("c" + target, "cancel", {"target": target}))
        engine.gate.set()
        await asyncio.gather(*tasks)
        reasons = [parts.of(i, "result")[0]["choices"][0]["finish_reason"] for i in "abc"]
        assert reasons == ["cancel", "cancel", "stop"]
        assert len(engine.calls) == 2  # the queued one never reached the engine
        await worker.handle(message("late", "cancel", {"target": "a"}))
        assert parts.of("late", "result") == [{"found": False}]

    asyncio.run(run())


def test_a_load_is_shared_and_another_model_takes_over_when_idle():
    async def run():
        worker, parts = make(gate=asyncio.Event())
        loader = worker._loader
        both = [asyncio.ensure_future(worker.handle(message(i, "load"))) for i in ("a", "b")]
        await asyncio.sleep(0)
        await worker.handle(message("other", "load", {"model": "other"}))
        assert code(parts, "other") == "E_BUSY"
        loader.gate.set()
        await asyncio.gather(*both)
        assert parts.of("a", "result") and parts.of("b", "result") and len(loader.loads) == 1
        assert parts.of("b", "progress")  # the second watcher saw the rest of it
        first = worker._session
        await worker.handle(message("c", "load", {"model": None}))
        assert len(loader.loads) == 1
        await worker.handle(message("d", "load", {"model": "other"}))
        assert len(loader.loads) == 2 and first.engine.closed == 1 and first.checkpoint.closed == 1
        assert parts.of("d", "result")[0]["model"] == "other"

    asyncio.run(run())


def test_a_load_that_all_gave_up_makes_way():
    async def run():
        worker, parts = make(gate=asyncio.Event())
        loader = worker._loader
        both = [asyncio.ensure_future(worker.handle(message(i, "load"))) for i in ("a", "b")]
        await asyncio.sleep(0)
        await worker.handle(message("c", "cancel", {"target": "a"}))
        await worker.handle(message("busy", "load", {"model": "other"}))
        assert code(parts, "busy") == "E_BUSY"  # b still waits for it
        await worker.handle(message("d", "cancel", {"target": "b"}))
        await asyncio.gather(*both, worker.handle(message("e", "load", {"model": "other"})))
        assert parts.of("c", "result") == parts.of("d", "result") == [{"found": True}]
        assert code(parts, "a") == code(parts, "b") == "E_NETWORK"
        assert parts.of("e", "result")[0]["model"] == "other" and len(loader.loads) == 2
        assert worker._loading is None

    asyncio.run(run())


def test_a_load_given_up_before_its_turn_never_begins():
    async def run():
        engine = FakeEngine(gate=asyncio.Event())
        worker, parts = await loaded(make=lambda: engine)
        chat = asyncio.ensure_future(worker.handle(message("a", "chat", CHAT)))
        await settled()
        await worker.handle(message("x", "cancel", {"target": "a"}))
        load = asyncio.ensure_future(worker.handle(message("b", "load", {"model": "other"})))
        await settled()
        worker._loader.gate = asyncio.Event()
        await worker.handle(message("y", "cancel", {"target": "b"}))
        engine.gate.set()
        await asyncio.gather(chat, load)
        assert code(parts, "b") == "E_BAD_REQUEST"
        assert len(worker._loader.loads) == 1 and engine.closed == 0

    asyncio.run(run())


def test_the_default_model_by_name_is_the_same_load():
    async def run():
        worker, _ = await loaded()
        await worker.handle(message("b", "load", {"model": "smollm2-135m-instruct", "quant": None}))
        assert len(worker._loader.loads) == 1

    asyncio.run(run())


def test_another_model_is_refused_while_one_generates():
    async def run():
        engine = FakeEngine(gate=asyncio.Event())
        worker, parts = await loaded(make=lambda: engine)
        task = asyncio.ensure_future(worker.handle(message("a", "chat", CHAT)))
        await settled()
        await worker.handle(message("b", "load", {"model": "other"}))
        assert code(parts, "b") == "E_BUSY"
        await worker.handle(message("c", "load"))  # the same model is shared all the same
        assert parts.of("c", "result")
        engine.gate.set()
        await task
        assert parts.of("a", "result") and engine.closed == 0

    asyncio.run(run())


def test_a_cancelled_request_does_not_keep_the_next_model_out():
    async def run():
        engine = FakeEngine(gate=asyncio.Event())
        worker, parts = await loaded(make=lambda: engine)
        chat = asyncio.ensure_future(worker.handle(message("a", "chat", CHAT)))
        await settled()
        await worker.handle(message("c", "cancel", {"target": "a"}))
        load = asyncio.ensure_future(worker.handle(message("b", "load", {"model": "other"})))
        await settled()
        assert engine.closed == 0  # it still runs a burst
        engine.gate.set()
        await asyncio.gather(chat, load)
        assert engine.closed == 1 and parts.of("b", "result")[0]["model"] == "other"

    asyncio.run(run())


def test_requests_name_the_loaded_model_or_none():
    async def run():
        worker, parts = await loaded()
        await worker.handle(message("a", "chat", {**CHAT, "model": "m"}))
        assert parts.of("a", "result")
        await worker.handle(message("b", "chat", {**CHAT, "model": "gpt-4"}))
        assert code(parts, "b") == "E_UNKNOWN_MODEL"
        await worker.handle(message("c", "chat", {**CHAT, "model": "other"}))
        assert code(parts, "c") == "E_BUSY"

    asyncio.run(run())


def test_nothing_loaded():
    async def run():
        worker, parts = make()
        for id_, method, params in (("a", "chat", CHAT), ("b", "stats", {})):
            await worker.handle(message(id_, method, params))
            assert code(parts, id_) == "E_BAD_REQUEST"
        await worker.handle(message("c", "unload"))
        assert parts.of("c", "result") == [{}]

    asyncio.run(run())


def test_unload_ends_what_runs_and_closes():
    async def run():
        engine = FakeEngine(gate=asyncio.Event())
        worker, parts = await loaded(make=lambda: engine)
        task = asyncio.ensure_future(worker.handle(message("a", "chat", CHAT)))
        await settled()
        unload = asyncio.ensure_future(worker.handle(message("u", "unload")))
        await asyncio.sleep(0)
        engine.gate.set()
        await asyncio.gather(task, unload)
        assert engine.closed == 1 and worker._session is None
        assert parts.of("a", "result")[0]["choices"][0]["finish_reason"] == "cancel"

    asyncio.run(run())


def test_a_failed_load_leaves_a_worker_that_can_load():
    async def run():
        worker, parts = make(error=EngineError("E_NETWORK", url="u", detail="d"))
        await worker.handle(message("a", "load"))
        assert code(parts, "a") == "E_NETWORK"
        worker._loader.error = None
        await worker.handle(message("b", "load"))
        assert parts.of("b", "result")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "expected", "kept"),
    [
        (EngineError("E_DEVICE_LOST", reason="gone"), "E_DEVICE_LOST", False),
        (EngineError("E_GPU", what="x", detail="y"), "E_GPU", True),
        (ZeroDivisionError("oops"), "E_INTERNAL", True),
    ],
)
def test_errors_while_generating(error, expected, kept):
    async def run():
        engine = FakeEngine(fail_at=1, error=error)
        worker, parts = await loaded(make=lambda: engine)
        await worker.handle(message("a", "chat", {**CHAT, "stream": True}))
        assert code(parts, "a") == expected
        assert (worker._session is not None) is kept and engine.closed == (not kept)
        if expected == "E_INTERNAL":
            assert parts.of("a", "error")[0]["facts"]["detail"] == "ZeroDivisionError: oops"
            assert "Traceback" in parts.logged[0] and "fakes.py" in parts.logged[0]
        assert not worker._cancels
        engine.fail_at = None
        if kept:
            await worker.handle(message("b", "chat", CHAT))
            assert parts.of("b", "result")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        ({"v": 2, "id": "x", "method": "stats"}, "v"),
        ({"v": 1, "id": "", "method": "stats"}, "id"),
        ({"v": 1, "id": "x", "method": "format_disk"}, "method"),
        ({"v": 1, "id": "x", "method": "stats", "extra": 1}, "extra"),
        ({"v": 1, "id": "x", "method": "stats", "params": [1]}, "params"),
        ({"v": 1, "id": "x", "method": "load", "params": {"colour": 1}}, "colour"),
        ({"v": 1, "id": "x", "method": "cancel"}, "target"),
        (None, "v"),
        ([], "v"),
        ("hello", "v"),
    ],
)
def test_messages_outside_the_union(bad, param):
    async def run():
        worker, parts = make()
        await worker.handle(bad)
        (event,) = parts.events
        assert event["data"]["code"] == "E_BAD_REQUEST" and event["data"]["facts"]["param"] == param

    asyncio.run(run())


def test_too_long_a_prompt_and_nothing_left_behind():
    async def run():
        worker, parts = await loaded()
        await worker.handle(message("a", "complete", {"prompt": "x" * 65}))
        assert code(parts, "a") == "E_CONTEXT_FULL"
        await worker.handle(message("b", "complete", {"prompt": [256]}))
        assert code(parts, "b") == "E_BAD_REQUEST"
        await worker.handle(message("c", "complete", {"prompt": "x" * 60}))
        assert parts.of("c", "result")
        await worker.handle(message("s", "stats"))
        (stats,) = parts.of("s", "result")
        assert stats["live"]["requests"] == 0 and stats["load_ms"]["total"] == 1.0

    asyncio.run(run())


def test_receive_keeps_no_task():
    async def run():
        worker, parts = make()
        assert worker.receive('{"v": 1, "id": "x", "method": "unload"}') is None
        assert len(worker._tasks) == 1
        await settled()
        assert parts.of("x", "result") == [{}] and not worker._tasks

    asyncio.run(run())


def test_a_token_makes_no_other_load():
    async def go():
        worker, parts = await loaded()
        await worker.handle(message("t", "load", {"token": "secret"}))
        assert parts.of("t", "result") and len(worker._loader.loads) == 1

    asyncio.run(go())
