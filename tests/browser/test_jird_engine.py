"""The real worker, end to end on a tiny model: Pyodide, the engine, WebGPU, and the failures a
person can meet."""

import shutil

import numpy as np
import pytest

from tests.support import link_site, wait_until, wait_without_workers

TINY = "models-tiny/llama"
LOAD = "{ model: './tiny/', quant: 'keep', kv: 'f32', context: 256 }"
CAUGHT = """async (make) => {
    const { createEngine } = await import("./jird.js");
    try {
        const engine = await createEngine(make);
        return { model: engine.model };
    } catch (error) {
        return { code: error.code, message: error.message, next_step: error.next_step };
    }
}"""


@pytest.fixture(scope="module")
def root(dist, goldens, tmp_path_factory):
    """The built site under a sub-path, without its models but with a tiny one and some broken
    ones."""
    if not (goldens / TINY).exists():
        pytest.skip(f"tests/goldens/{TINY} is absent")
    root = tmp_path_factory.mktemp("site") / "app"
    link_site(dist, root)
    shutil.copytree(goldens / TINY, root / "tiny")
    (root / "blank.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>x</title>"
    )
    broken = root / "broken"
    shutil.copytree(root / "tiny", broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (root / "junk.gguf").write_bytes(b"GGUF" + bytes(range(83)))
    (root / "empty.gguf").write_bytes(b"")
    return root


@pytest.fixture
def served(root, serve):
    return serve(root, "/some/app/")


@pytest.fixture
def blank(page, served):
    page.goto(served.url + "blank.html")
    return page


def engine_worker(page):
    """The worker with Pyodide; the other one is the storage's, which it started."""
    (worker,) = [worker for worker in page.workers if "engine_worker.js" in worker.url]
    return worker


def test_a_tiny_model_writes_its_golden_ids(blank, goldens, outside, served):
    golden = np.load(goldens / TINY / "golden.npz")
    result = blank.evaluate(
        """async ({ ids, load }) => {
        const { createEngine } = await import("./jird.js");
        const stages = [];
        const engine = window.engine = await createEngine({ ...load,
            onProgress: (p) => stages.push(p) });
        const body = { prompt: ids, temperature: 0, max_tokens: 6, return_token_ids: true };
        const once = await engine.completions.create(body);
        const streamed = [];
        for await (const chunk of await engine.completions.create({ ...body, stream: true })) {
            streamed.push(...(chunk.choices[0].token_ids ?? []));
        }
        return { stages, once, streamed, stats: await engine.stats(), info: engine.info };
    }""",
        {
            "ids": golden["ids"].tolist(),
            "load": {"model": "./tiny/", "quant": "keep", "kv": "f32", "context": 256},
        },
    )
    wanted = golden["greedy32"][:6].tolist()
    assert result["once"]["choices"][0]["token_ids"] == wanted and result["streamed"] == wanted
    assert result["once"]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 6,
        "total_tokens": 13,
    }
    assert result["once"]["choices"][0]["finish_reason"] == "length"
    assert {"boot", "read", "upload", "compile", "ready"} <= {p["stage"] for p in result["stages"]}
    assert result["stages"][0]["stage"] == "boot" and result["stages"][-1]["stage"] == "ready"
    stats = result["stats"]
    assert (
        stats["device"]["backend"] == "webgpu"
        and stats["dispatches_per_token"] > 0
        and stats["load_ms"]["boot"] > 0
    )
    assert result["info"]["model"] == served.url + "tiny/" and result["info"]["context"] == 256
    worker = engine_worker(blank)
    assert "numpy" not in worker.evaluate("Object.keys(pyodide.loadedPackages)")
    # Chromium's own updater may call in the meantime.
    assert [line for line in outside if "update.googleapis.com" not in line] == []


def test_requests_leave_no_proxies(blank):
    blank.evaluate(f"""async () => {{
        const {{ createEngine }} = await import("./jird.js");
        window.engine = await createEngine({LOAD});
        window.ask = async (leave) => {{
            const body = {{ prompt: [1, 2, 3], max_tokens: 7, stream: true,
                return_token_ids: true }};
            for await (const chunk of await engine.completions.create(body)) if (leave) break;
            await engine.completions.create({{ prompt: [1, 2, 3],
                temperature: -1 }}).catch(() => {{}});
            await engine.stats();
        }};
        await ask(false); // what the first request makes for good is there now
        await ask(true);
    }}""")
    worker = engine_worker(blank)
    worker.evaluate("pyodide._module.enable_pyproxy_allocation_tracing()")
    count = "[pyodide._module.pyproxy_alloc_map.size, pyodide._module._hiwire_num_refs()]"
    wait_until(lambda: worker.evaluate(count)[0] == 0)
    before = worker.evaluate(count)
    blank.evaluate("async () => { for (let i = 0; i < 5; i++) await ask(i % 2 === 1); }")
    wait_until(lambda: worker.evaluate(count) <= before)


def test_bad_models_are_named_and_the_next_one_loads(blank):
    cases = {
        "gpt-4": "E_BAD_REQUEST",
        "./no/such.gguf": "E_NETWORK",
        "./junk.gguf": ("E_BAD_FILE", "E_TRUNCATED"),
        "./empty.gguf": ("E_BAD_FILE", "E_TRUNCATED"),
        "./broken/": ("E_BAD_FILE", "E_TRUNCATED"),
        "https://example.com/a.gguf": "E_NETWORK",
        "org/na--me": "E_BAD_REQUEST",
        "./tiny/model.safetensors": "E_BAD_REQUEST",
        "./none/": "E_NETWORK",
    }
    blank.evaluate(f"""async () => {{
        const {{ createEngine }} = await import("./jird.js");
        window.engine = await createEngine({LOAD}); // keeps the worker up
    }}""")
    for model, codes in cases.items():
        result = blank.evaluate(CAUGHT, {"model": model})
        assert result.get("code") in ((codes,) if isinstance(codes, str) else codes), (
            model,
            result,
        )
        assert result["message"] and result["next_step"]
    assert "smollm2-135m-instruct" in blank.evaluate(CAUGHT, {"model": "gpt-4"})["message"]
    ids = blank.evaluate("""async () => (await engine.completions.create(
        { prompt: [1, 2, 3], max_tokens: 3, return_token_ids: true })).choices[0].token_ids""")
    assert len(ids) == 3


def test_bad_requests_are_named(blank):
    bodies = [
        {"prompt": ""},
        {"prompt": [1], "temperature": -1},
        {"prompt": [1], "max_tokens": 0},
        {"prompt": [256]},
        {"prompt": "a\ud800"},
        {"prompt": [1], "wibble": 1},
        {"prompt": [1], "model": "gpt-4"},
    ]
    result = blank.evaluate(f"""async () => {{
        const {{ createEngine }} = await import("./jird.js");
        const engine = await createEngine({LOAD});
        const bodies = {_js(bodies)};
        const codes = [];
        const ask = (call) => call.catch((error) => codes.push(error.code));
        for (const body of bodies) await ask(engine.completions.create(body));
        await ask(engine.completions.create({{ prompt: Array(257).fill(1) }}));
        await ask(engine.completions.create({{ prompt: "text" }}));
        await ask(engine.chat.completions.create({{ messages: [] }}));
        return codes;
    }}""")
    assert result == ["E_BAD_REQUEST"] * (len(bodies) - 1) + [
        "E_UNKNOWN_MODEL",
        "E_CONTEXT_FULL",
        "E_NO_TOKENIZER",
        "E_BAD_REQUEST",
    ]


def _js(value):
    import json

    return json.dumps(value)  # as text: Playwright itself refuses lone surrogates


@pytest.fixture(scope="module")
def plain_browser(browser_type, browser_type_launch_args, browser_name):
    """A Chromium without WebGPU, in which insecure.test is this machine."""
    if browser_name != "chromium":
        pytest.skip("needs Chromium's switches")
    args = [
        "--disable-gpu",
        "--disable-features=WebGPU",
        "--host-resolver-rules=MAP insecure.test 127.0.0.1",
    ]
    options = {k: v for k, v in browser_type_launch_args.items() if k != "proxy"} | {"args": args}
    browser = browser_type.launch(**options)
    yield browser
    browser.close()


@pytest.mark.parametrize(
    ("host", "code"), [("127.0.0.1", "E_NO_WEBGPU"), ("insecure.test", "E_INSECURE_CONTEXT")]
)
def test_without_webgpu(plain_browser, served, host, code):
    page = plain_browser.new_page()
    page.goto(served.url.replace("127.0.0.1", host) + "blank.html")
    result = page.evaluate(CAUGHT, {"model": "./tiny/"})
    assert result["code"] == code and result["next_step"]
    wait_without_workers(page)  # a failed load leaves none behind
    page.close()
