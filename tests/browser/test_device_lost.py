"""A device that is lost while the app's own worker answers: the model comes back from the browser's
storage, without a request, and the text goes on."""
import json

import numpy as np
import pytest

from tests.browser.test_jird_engine import LOAD, TINY, root, served  # noqa: F401  fixtures

ASK = """async ({ ids, count }) => {
    const { createEngine } = await import("./jird.js");
    const engine = await createEngine(%s);
    const before = (await engine.stats()).device;
    const found = [];
    const body = { prompt: ids, temperature: 0, max_tokens: count, return_token_ids: true, stream: true };
    for await (const chunk of await engine.completions.create(body)) found.push(...(chunk.choices[0]?.token_ids ?? []));
    const { device, objects } = await engine.stats();
    await engine.unload();
    return { found, before, device, objects };
}""" % LOAD
COUNT = 32
LOADED = 3   # readbacks of the self-test at least; those of the answer come behind
APART = 4    # two are under way at once, and a new device reads back too


@pytest.mark.parametrize("losses", [pytest.param(1, marks=pytest.mark.long), 3])
def test_the_answer_goes_on_from_what_is_stored(page, served, goldens, losses):  # noqa: F811
    golden = np.load(goldens / TINY / "golden.npz")
    run = {"ids": golden["ids"].tolist(), "count": COUNT}
    page.goto(served.url + "blank.html")
    calm = page.evaluate(ASK, run)
    assert calm["found"] == golden["greedy32"].tolist() and calm["device"]["rebuilds"] == 0
    asked = len(served.log)
    fail = [{"kind": "lost", "call": "mapAsync", "after": LOADED + 2 + APART * n} for n in range(losses)]
    page.goto(f"{served.url}blank.html?gpuFaults={json.dumps({'fail': fail})}")
    found = page.evaluate(ASK, run)
    assert found["before"]["rebuilds"] == 0, "it was lost while it loaded, not while it answered"
    assert found["found"] == calm["found"] and found["device"]["rebuilds"] == losses
    assert found["device"]["mode"] == ("safe" if losses == 3 else "normal")
    assert (found["device"]["notice"] is None) == (losses == 1)
    weights = [request.method for request in served.log[asked:] if "safetensors" in request.path]
    assert set(weights) <= {"HEAD"}, "nothing of the weights was fetched again"
    if losses == 1:
        assert found["objects"] == calm["objects"]
