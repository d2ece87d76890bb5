"""`n` choices of one request, from the engine's calls to the response."""

import asyncio

from tests.app.fakes import FakeEngine
from tests.app.test_worker import CHAT, loaded, message


def test_several_choices_come_one_after_the_other():
    async def run():
        engine = FakeEngine()
        worker, parts = await loaded(make=lambda: engine)
        body = {**CHAT, "n": 3, "max_tokens": 2, "seed": 2**32 - 1}
        await worker.handle(message("a", "chat", body))
        (whole,) = parts.of("a", "result")
        assert [c["index"] for c in whole["choices"]] == [0, 1, 2]
        assert [call.params.seed for call in engine.calls] == [2**32 - 1, 0, 1]
        assert whole["usage"]["completion_tokens"] == 6
        options = {"include_usage": True, "continuous_usage_stats": True}
        await worker.handle(message("b", "chat", {**body, "stream": True, "stream_options": options}))
        chunks = parts.of("b", "chunk")
        assert [c["choices"][0]["index"] for c in chunks[:-1]] == [0] * 4 + [1] * 4 + [2] * 4
        assert [c["usage"]["completion_tokens"] for c in chunks if "usage" in c] == [
            1, 2, 2, 3, 4, 4, 5, 6, 6, 6]

    asyncio.run(run())
