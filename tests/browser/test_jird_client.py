"""The public client over a fake worker: sharing, streams, aborts, takeover, and two tabs on one
engine."""

import pytest

pytest_plugins = ["tests.browser.client_kit"]
EMPTY = {"pending": 0, "relayed": 0, "guests": 0, "handles": 0, "worker": 0}


def live(tab):
    return tab.evaluate("hub.live")


def test_chat_stream_and_stats(tab):
    result = tab.evaluate("""async () => {
        const stages = [];
        const engine = await create({ model: "default", onProgress: (p) => stages.push(p.stage) });
        const chat = await engine.chat.completions.create({ messages: [], words: 3 });
        const stream = await engine.completions.create({ prompt: "x", stream: true });
        return { stages, text: chat.choices[0].message.content, words: await collect(stream),
            stats: await engine.stats(),
                 model: engine.model };
    }""")
    assert result["stages"] == ["boot", "ready"] and result["model"] == "default"
    assert (
        result["text"] == "one two three"
        and result["words"][-1] == "seven"
        and len(result["words"]) == 7
    )
    assert result["stats"]["loads"] == 1


def test_the_same_model_is_shared_and_the_last_unload_ends_the_worker(tab):
    result = tab.evaluate("""async () => {
        const [a, b] = await Promise.all([create({ model: "slow" }), create({ model: "slow" })]);
        const shared = (await a.stats()).serial === (await b.stats()).serial
            && (await a.stats()).loads === 1;
        await a.unload();
        await a.unload();
        const still = (await b.stats()).model;
        const refused = await caught(a.chat.completions.create({ messages: [] }));
        const middle = hub.live;
        await b.unload();
        return { shared, still, refused, middle, end: hub.live, role: hub.role,
                 locks: (await navigator.locks.query()).held.length };
    }""")
    assert result["shared"] and result["still"] == "slow"
    assert result["refused"]["name"] == "AbortError"
    assert result["middle"]["handles"] == 1 and result["middle"]["worker"] == 1
    assert result["end"] == EMPTY and result["role"] is None and result["locks"] == 0


def test_create_again_after_unload_starts_a_new_worker(tab):
    first, second = tab.evaluate("""async () => {
        const a = await create();
        const first = (await a.stats()).serial;
        await a.unload();
        const b = await create();
        const second = (await b.stats()).serial;
        await b.unload();
        return [first, second];
    }""")
    assert first != second and live(tab) == EMPTY


def test_leaving_the_loop_cancels(tab):
    result = tab.evaluate("""async () => {
        const engine = await create();
        const stream = await engine.chat.completions.create({ messages: [], stream: true,
            words: 5000, delay: 5 });
        const words = await collect(stream, 2);
        return { words, stats: await engine.stats(), live: hub.live };
    }""")
    assert result["words"] == ["one", "two"] and result["stats"]["running"] == 0
    assert result["stats"]["generated"] < 5000 and result["live"]["pending"] == 0


@pytest.mark.parametrize("how", ["stream.controller.abort()", "mine.abort()"])
def test_an_aborted_stream_just_ends(tab, how):
    result = tab.evaluate(
        """async (how) => {
        const engine = await create();
        const mine = new AbortController();
        const body = { messages: [], stream: true, words: 5000, delay: 5 };
        const stream = await engine.chat.completions.create(body, { signal: mine.signal });
        const words = [];
        for await (const chunk of stream) {
            words.push(chunk);
            if (words.length === 3) (how === "mine.abort()" ? mine : stream.controller).abort();
        }
        return { words: words.length, stats: await engine.stats() };
    }""",
        how,
    )
    assert result["words"] == 3 and result["stats"]["generated"] < 5000
    assert result["stats"]["running"] == 0


def test_aborts_reject_with_the_signals_reason(tab):
    result = tab.evaluate("""async () => {
        const engine = await create();
        const body = { messages: [], words: 5000 };
        const gone = AbortSignal.abort(new Error("before"));
        const before = await caught(engine.chat.completions.create(body, { signal: gone }));
        const stream = await caught(engine.chat.completions.create({ ...body, stream: true,
            signal: gone }));
        const later = new AbortController();
        setTimeout(() => later.abort(), 20);
        const during = await caught(engine.chat.completions.create({ ...body,
            signal: later.signal }));
        const stats = await caught(engine.stats({ signal: gone }));
        const load = new AbortController();
        const loading = await caught(create({ model: "slow", signal: load.signal,
            onProgress: () => load.abort() })); // at its first sign
        while ((await engine.stats()).model !== "slow") await sleep(20); // the worker ends it
        return { before, stream, during, stats, loading, live: hub.live };
    }""")
    assert [result[k]["message"] for k in ("before", "stream", "stats")] == ["before"] * 3
    assert result["during"]["name"] == result["loading"]["name"] == "AbortError"
    assert result["live"]["handles"] == 1 and result["live"]["pending"] == 0


def test_errors_are_coded(tab):
    result = tab.evaluate("""async () => {
        const missing = await caught(create({ model: "missing" }));
        const after = hub.live;
        const option = await caught(create({ colour: "red" }));
        const url = await caught(create({ model: "http://" }));
        const signal = await caught(create({ signal: 5 }));
        const progress = await caught(create({ onProgress: "no" }));
        const engine = await create();
        const lost = await caught(engine.chat.completions.create({ messages: [], fail_at: 1 }));
        const stream = await engine.chat.completions.create({ messages: [], stream: true,
            fail_at: 2 });
        const lostStream = await caught(collect(stream));
        const first = await caught(engine.chat.completions.create({ messages: [], stream: true,
            fail_at: 0 }));
        const nan = await caught(engine.chat.completions.create({ messages: [],
            temperature: NaN }));
        const code = await caught(engine.chat.completions.create({ messages: [{ f() {} }] }));
        const end = new AbortController();
        const busy = caught(engine.chat.completions.create({ messages: [], words: 5000 },
            { signal: end.signal }));
        while ((await engine.stats()).running !== 1) await sleep(5);
        const other = await caught(create({ model: "other" }));
        end.abort();
        await busy;
        return { missing, after, option, url, signal, progress, lost, lostStream, first, nan, code, other };
    }""")
    assert result.pop("after") == EMPTY
    codes = {name: error["code"] for name, error in result.items()}
    assert codes == {
        "missing": "E_BAD_REQUEST",
        "option": "E_BAD_REQUEST",
        "url": "E_BAD_REQUEST",
        "signal": "E_BAD_REQUEST",
        "progress": "E_BAD_REQUEST",
        "lost": "E_DEVICE_LOST",
        "first": "E_DEVICE_LOST",
        "lostStream": "E_DEVICE_LOST",
        "nan": "E_BAD_REQUEST",
        "code": "E_BAD_REQUEST",
        "other": "E_BUSY",
    }
    assert all(error["coded"] and error["next_step"] for error in result.values())
    assert (
        "temperature" in result["nan"]["message"] and "messages[0].f" in result["code"]["message"]
    )


def test_another_model_takes_over_when_idle_and_is_taken_back(tab):
    models = tab.evaluate("""async () => {
        const a = await create({ model: "a" }), b = await create({ model: "b" });
        const models = [(await a.stats()).model];
        await a.chat.completions.create({ messages: [] });
        models.push((await b.stats()).model, a.model, b.model);
        return models;
    }""")
    assert models == ["b", "a", "a", "b"]


def test_a_worker_that_crashes_fails_its_calls_and_the_next_begins_anew(tab):
    result = tab.evaluate("""async () => {
        const engine = await create();
        const crash = await caught(create({ model: "crash" }));
        const words = await collect(await engine.chat.completions.create({ messages: [],
            stream: true }));
        return { crash, words: words.length };
    }""")
    assert (
        result["crash"]["code"] == "E_INTERNAL"
        and "crashed on purpose" in result["crash"]["message"]
    )
    assert result["words"] == 7


def test_two_tabs_share_one_engine(tab, open_tab):
    tab.evaluate("async () => { window.engine = await create({ model: 'a' }); }")
    other = open_tab()
    result = other.evaluate("""async () => {
        const stages = [];
        window.engine = await create({ model: "a", onProgress: (p) => stages.push(p.stage) });
        const stream = await engine.chat.completions.create({ messages: [], stream: true });
        return { words: await collect(stream), stats: await engine.stats(), role: hub.role,
            live: hub.live };
    }""")
    assert (
        result["role"] == "client" and len(result["words"]) == 7 and result["live"]["worker"] == 0
    )
    assert result["stats"]["serial"] == tab.evaluate("async () => (await engine.stats()).serial")
    assert live(tab)["guests"] == 1
    # the owner's own unload leaves the engine to its guest, whose unload ends it
    tab.evaluate("engine.unload()")
    assert live(tab)["worker"] == 1
    assert other.evaluate("async () => (await engine.stats()).model") == "a"
    other.evaluate("engine.unload()")
    tab.wait_for_function("hub.live.worker === 0 && hub.role === null")
    assert live(tab) == EMPTY and live(other) == EMPTY


def test_breaking_a_relayed_stream_cancels_it(tab, open_tab):
    tab.evaluate("async () => { window.engine = await create(); }")
    other = open_tab()
    words = other.evaluate("""async () => {
        window.engine = await create();
        return collect(await engine.chat.completions.create({ messages: [], stream: true,
            words: 5000 }), 3);
    }""")
    assert words == ["one", "two", "three"]
    tab.wait_for_function("async () => (await engine.stats()).running === 0")
    tab.wait_for_function("hub.live.relayed === 0")
    assert live(other)["pending"] == 0


def test_a_guest_that_closes_its_tab_is_cancelled_and_let_go(tab, open_tab):
    tab.evaluate("async () => { window.engine = await create(); }")
    other = open_tab()
    other.evaluate("""async () => {
        window.engine = await create();
        window.stream = await engine.chat.completions.create({ messages: [], stream: true,
            words: 5000 });
    }""")
    assert live(tab)["guests"] == 1
    other.close()
    tab.wait_for_function("hub.live.guests === 0")
    tab.wait_for_function("async () => (await engine.stats()).running === 0")
    tab.wait_for_function("hub.live.relayed === 0")
    assert live(tab)["worker"] == 1


def test_when_the_owner_goes_a_request_under_way_fails_and_the_next_loads_here(tab, open_tab):
    tab.evaluate("async () => { window.engine = await create({ model: 'a' }); }")
    other, third = open_tab(), open_tab()
    for guest in (other, third):
        guest.evaluate("""async () => {
            window.engine = await create({ model: "a" });
            window.before = (await engine.stats()).serial;
        }""")
    other.evaluate(
        "() => { window.body = { messages: [], words: 5000 };"
        " window.answer = caught(engine.chat.completions.create(body)); }"
    )
    other.wait_for_function("async () => (await engine.stats()).running === 1")
    tab.close()
    assert other.evaluate("answer")["code"] == "E_DEVICE_LOST"
    words = other.evaluate(
        "async () => collect(await engine.chat.completions.create({ messages: [], stream: true }))"
    )
    assert len(words) == 7
    assert (
        third.evaluate(
            "async () => (await engine.chat.completions.create({ messages: [] })).choices.length"
        )
        == 1
    )
    serials = [
        guest.evaluate("async () => [before, (await engine.stats()).serial]")
        for guest in (other, third)
    ]
    assert serials[0][1] == serials[1][1] != serials[0][0]
    assert sorted([other.evaluate("hub.role"), third.evaluate("hub.role")]) == ["client", "owner"]


def test_busy_across_tabs(tab, open_tab):
    tab.evaluate("""async () => {
        window.engine = await create({ model: "a" });
        window.end = new AbortController();
        window.answer = caught(engine.chat.completions.create({ messages: [], words: 5000,
            delay: 10 }, { signal: end.signal }));
    }""")
    other = open_tab()
    tab.wait_for_function("async () => (await engine.stats()).running === 1")
    assert other.evaluate("caught(create({ model: 'b' }))")["code"] == "E_BUSY"
    tab.evaluate("(end.abort(), answer)")
    assert other.evaluate("async () => (await create({ model: 'b' })).model") == "b"
    assert live(tab)["guests"] == 1
