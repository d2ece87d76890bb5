"""The browser is killed (SIGKILL) at random moments while a chat is written, a model loads, or it
answers: no finished message and no verified file is lost, and the next start says what happened."""
import json
import random

import pytest

from tests.browser.page_kit import pieces
from tests.storage.test_kill import Browser, killable  # noqa: F401  a fixture
from tests.support import WAIT_MS

pytest_plugins = ["tests.browser.pwa_kit"]
ANSWER = "A jird is a small rodent that lives in dry lands, digs burrows and stores its food there."
LONG = [pytest.mark.long, pytest.mark.timeout(1800)]
ROWS = """async () => {
    const { openChatStore } = await import("./js/ui/chat_store.js");
    const store = await openChatStore(), rows = [];
    for await (const batch of store.everyMessage()) rows.push(...batch);
    return rows.map(({ role, text, state }) => [role, text, state]);
}"""
NOW = """() => ({ busy: "busy" in document.documentElement.dataset,
    begun: document.querySelectorAll("[data-testid=message-assistant] .md").length,
    text: [...document.querySelectorAll("[data-testid=message-assistant] .md")].at(-1)?.innerText ?? "" })"""


def opened(browser, url, options=None):
    page = browser.start()
    page.set_default_timeout(WAIT_MS)
    if options:
        page.add_init_script(f"globalThis.fakeJird = {json.dumps(options)}")
    page.goto(url)
    return page


def asked(page, question, hang_at=None):
    """Asks, with a model that stops for good before piece `hang_at` of its answer."""
    start = page.get_by_test_id("start")
    if start.is_visible():
        start.click()
    page.locator("[data-testid=status][data-state=ready]").wait_for()
    page.evaluate("at => { globalThis.fakeJird.hangAt = at ?? undefined; }", hang_at)
    before = page.evaluate(NOW)["begun"]
    page.get_by_test_id("composer").fill(question)
    page.get_by_test_id("send").click()
    return before


def written(page, question, kind, rng):
    """Asks, and looks on until the kill. `kind`: the answer stops at a piece, is whole, or is
    killed after a while, before its end, at it or after. -> whether it began, and ended."""
    count = len(pieces(ANSWER))
    before = asked(page, question, rng.randrange(1, count) if kind == "stopped" else None)
    if kind == "any":
        page.wait_for_timeout(rng.randrange(20, 900))  # it takes half a second
    else:
        page.wait_for_function(f"""([before, whole]) => {{ const now = ({NOW})();
            return now.begun > before && now.text && (!whole || !now.busy); }}""",
            arg=[before, kind == "whole"])
    now = page.evaluate(NOW)
    return now["begun"] > before and bool(now["text"]), not now["busy"] and now["text"] == ANSWER


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=LONG)])
def test_no_finished_message_is_lost(killable, shell_app, kills):  # noqa: F811
    rng, begun, ended = random.Random(kills), set(), set()
    options = {"pieces": pieces(ANSWER), "perSecond": 40}
    for number in range(kills):
        page = opened(killable, shell_app.url, options)
        rows = page.evaluate(ROWS)
        questions = {text for role, text, _ in rows if role == "user"}
        assert begun <= questions, "a question whose answer had begun is gone"
        whole = sum([role, text, state] == ["assistant", ANSWER, "done"] for role, text, state in rows)
        assert whole >= len(ended), "a finished answer is gone"
        question, kind = f"Question {number}?", ("stopped", "whole", "any")[number % 3]
        some, all_ = written(page, question, kind, rng)
        assert kind == "any" or some and all_ == (kind == "whole")
        begun |= {question} if some else set()
        ended |= {question} if all_ else set()
        killable.kill()
    page = opened(killable, shell_app.url, options)
    rows = page.evaluate(ROWS)
    assert begun <= {text for role, text, _ in rows if role == "user"}
    assert sum(state == "done" and role == "assistant" for role, _, state in rows) >= len(ended)
    assert 0 < len(ended) < len(begun)
    print(f"\n{kills} kills while chats were written: {len(begun)} answers begun, {len(ended)} ended, none lost")


WORK = """() => {
    window.stage = "start";
    window.done = 0;
    window.work = (async () => {
        const { createEngine } = await import("./jird.js");
        const engine = window.engine = await createEngine({ model: "./check/llama/", context: 1500,
            onProgress: ({ stage }) => (window.stage = stage) });
        window.stage = "answer";
        const { prompt } = (await (await fetch("./check/known.json")).json()).llama;
        for (;;) {
            await engine.completions.create({ prompt, max_tokens: 40 });
            window.done += 1;
        }
    })();
    window.work.catch((error) => (window.stage = String(error.code ?? error)));
}"""
STORED = """async () => {
    const { StorageClient } = await import("./js/storage/client.js");
    const storage = StorageClient.start(new URL("storage_worker.js", document.baseURI));
    const rows = await storage.call("list"), found = [];
    for (const { id, state } of rows) {
        found.push([state, state === "complete" ? (await storage.call("verify", { id })).ok : null]);
    }
    storage.terminate();
    return found;
}"""
LAST = """async () => {
    const { createEngine } = await import("./jird.js");
    const { prompt, ids } = (await (await fetch("./check/known.json")).json()).llama;
    const engine = await createEngine({ model: "./check/llama/", context: 1500 });
    const body = { prompt, temperature: 0, max_tokens: ids.length, return_token_ids: true };
    const answer = await engine.completions.create(body);
    const { device, context } = await engine.stats();
    await engine.unload();
    return { right: JSON.stringify(answer.choices[0].token_ids) === JSON.stringify(ids),
        mode: device.mode, notice: device.notice, context };
}"""
LOADING = ("upload", "compile", "warmup")
STAGES = ("start", "boot", "download", "read", *LOADING, "ready", "answer")


@pytest.fixture
def with_gpu(killable):  # noqa: F811
    killable.options = ()
    return killable


def killed_at(browser, url, wanted, wait_ms=0):
    """Begins a load and kills the browser `wait_ms` after stage `wanted` is reached; -> the stage."""
    page = opened(browser, url)
    stored = page.evaluate(STORED)
    assert all(state in ("complete", "partial", "paused") and ok is not False for state, ok in stored)
    page.evaluate(WORK)
    for _ in range(6000):
        stage = page.evaluate("window.stage")
        assert stage in STAGES, stage
        if STAGES.index(stage) >= STAGES.index(wanted):
            break
        page.wait_for_timeout(5)
    page.wait_for_timeout(wait_ms)
    stage = page.evaluate("window.stage")
    browser.kill()
    return stage, stored


@pytest.mark.parametrize("kills", [pytest.param(18, marks=LONG)])
def test_a_load_and_an_answer_survive(with_gpu, app, kills):
    url, rng = app.url + "check.html", random.Random(kills)
    stages = [killed_at(with_gpu, url, rng.choice(STAGES), rng.randrange(300))[0]
              for _ in range(kills)]
    stage, _ = killed_at(with_gpu, url, "answer", 50)
    stages.append(stage)
    found = opened(with_gpu, url).evaluate(LAST)
    assert found["right"] and found["mode"] == "normal", "a kill after the load accuses no load"
    with_gpu.kill()
    stage, stored = killed_at(with_gpu, url, "upload")
    assert stored == [["complete", True]]
    stages.append(stage)
    if stage in LOADING:
        page = opened(with_gpu, url)
        found = page.evaluate(LAST)
        assert found["right"] and found["mode"] == "safe" and found["context"] == 1024
        assert "while the model was loading" in found["notice"]
        again = page.evaluate(LAST)
        assert again["right"] and again["mode"] == "normal", "the mark is gone"
    print(f"\n{len(stages)} kills, at:", ", ".join(stages))
