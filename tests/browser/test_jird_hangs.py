"""A worker that never answers, and pages that end while a model loads: what the client makes of it."""
import json

import pytest

pytest_plugins = ["tests.browser.client_kit"]
ASK_MS, SILENT_MS = 200, 1500
START = """async () => {
    const begun = performance.now();
    await (await create()).unload();
    return performance.now() - begun;
}"""

# Late: after a chain of timers as long as the client's own, and as long again, in the same page.
HANG = """async ([askMs, silentMs]) => {
    const begun = performance.now(), error = caught(create({ model: "hang" }));
    const limit = async () => {
        for (const ms of [askMs, silentMs, askMs, silentMs]) await sleep(ms);
        return "late";
    };
    const first = await Promise.race([error, limit()]);
    return [await error, performance.now() - begun, first === "late"];
}"""


@pytest.fixture
def silent_ms(open_tab):
    """How long a worker may be silent: more on a machine where it takes long to start at all."""
    tab = open_tab()
    most = max(SILENT_MS, 4 * max(tab.evaluate(START) for _ in range(2)))
    tab.close()
    return round(most, -2)


@pytest.fixture
def tab(open_tab, silent_ms):
    tab = open_tab()
    tab.goto(f"{tab.url}?patience={json.dumps({'askMs': ASK_MS, 'silentMs': silent_ms})}")
    tab.wait_for_function("window.ready")
    return tab


def reopened(tab):
    tab.reload()
    tab.wait_for_function("window.ready")
    return tab.evaluate("create().then((engine) => engine.stats()).then(({ name }) => name)")


def test_a_worker_that_hangs_is_ended_and_the_next_call_starts_another(tab, silent_ms):
    error, taken, late = tab.evaluate(HANG, [ASK_MS, silent_ms])
    seconds = (ASK_MS + silent_ms) / 1000
    assert error["code"] == "E_NO_ANSWER" and error["coded"]
    assert f"{seconds:g} seconds" in error["message"]
    assert taken > silent_ms and not late
    live, name = tab.evaluate("""async () => {
        const live = hub.live;
        const { name } = await (await create()).stats();
        return [live, name];
    }""")
    assert live["worker"] == live["pending"] == 0
    assert name == "jird-engine:left", "the load that hung is no kill"


def test_a_worker_that_works_on_may_take_its_time(tab, silent_ms):
    """It gives a sign each time it is asked, so a long answer is no hang."""
    words = tab.evaluate("""async (delay) => {
        const engine = await create();
        const chat = await engine.chat.completions.create({ messages: [], words: 2, delay });
        await engine.unload();
        return chat.choices[0].message.content;
    }""", silent_ms)
    assert words == "one two"


def test_a_page_that_is_left_while_it_loads_accuses_nobody(tab):
    assert tab.evaluate("create().then((engine) => engine.stats()).then((s) => s.name)") == "jird-engine"
    assert reopened(tab) == "jird-engine", "nothing was loading"
    tab.reload()
    tab.wait_for_function("window.ready")
    tab.evaluate("void create({ model: 'never' })")
    tab.wait_for_function("hub.live.pending > 0")
    assert reopened(tab) == "jird-engine:left"
    assert reopened(tab) == "jird-engine", "asked once"


def test_a_page_that_the_browser_ends_while_it_loads_accuses_that_load(open_tab, client_url):
    """What a killed page leaves is what no pagehide was told of: it is not noted as left."""
    tab = open_tab()
    tab.evaluate("void create({ model: 'never' })")
    tab.wait_for_function("hub.live.pending > 0")
    other = open_tab()
    assert other.evaluate("localStorage.getItem('jird.left')") is None
    hidden = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        return localStorage.getItem("jird.left");
    }"""
    assert tab.evaluate(hidden, True) == "1" and tab.evaluate(hidden, False) is None


def test_a_load_that_is_given_up_is_no_kill(tab):
    name = tab.evaluate("""async () => {
        const mine = new AbortController();
        setTimeout(() => mine.abort(), 100);
        await caught(create({ model: "never", signal: mine.signal }));
        while (hub.live.worker) await sleep(50);
        const { name } = await (await create()).stats();
        return name;
    }""")
    assert name == "jird-engine:left"
