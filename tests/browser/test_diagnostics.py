"""The diagnostics panel: the loaded model's own figures, as tables with bars."""
from playwright.sync_api import expect

pytest_plugins = ["tests.browser.page_kit"]

STATS = {
    "device": {"backend": "webgpu", "vendor": "maker", "architecture": "", "f16": True,
               "subgroups": False},
    "context": 4096, "dispatches_per_token": 184, "submits_per_token": 0.125,
    "load_ms": {"boot": 3000, "download": 100, "compile": 400, "upload": 500, "total": 4000},
    "bytes": {"weights": 90e6, "kv": 8e6, "state": 1e6, "activations": 0.5e6, "staging": 0.5e6,
              "total": 100e6},
}
REPORT = {"clock": "gpu", "programs": ["decode"], "position": 64, "rows": 1, "ms": 10.0,
          "pass_ms": 9.5, "kernels": [
    {"kernel": "a", "op": "norm_linear", "shape": "960x576 affine4", "calls": 30, "us": 250.0,
     "ms": 7.5, "share": 0.75, "read_bytes": 1, "written_bytes": 1, "gb_s": 1.25},
    {"kernel": "b", "op": "attention", "shape": "1x576 f32", "calls": 1, "us": 2500.0, "ms": 2.5,
     "share": 0.25, "read_bytes": 1, "written_bytes": 1, "gb_s": None}]}


def rows(chat, name):
    """The texts of each row, and where its bar begins and how wide it is, in percent."""
    return chat.get(name).evaluate("""(table) => [...table.tBodies[0].rows].map((row) => {
        const rect = row.querySelector("rect");
        return [...[...row.cells].slice(0, -1).map((cell) => cell.textContent),
          Math.round(10 * rect.getAttribute("x")) / 10, Math.round(10 * rect.getAttribute("width")) / 10];
    })""")


def opened(chat, **options):
    chat.open(**options)
    chat.until("!document.getElementById('diagnostics').disabled")
    chat.page.evaluate("document.getElementById('diagnostics').click()")
    return chat.get("diagnostics-panel")


def test_the_figures_of_the_loaded_model(chat):
    panel = opened(chat, stats=STATS, report=REPORT)
    facts = chat.get("device-facts").inner_text().split("\n")
    pairs = dict(zip(facts[::2], facts[1::2]))
    assert pairs["Backend"] == "webgpu" and pairs["16-bit floats"] == "yes"
    assert pairs["Dispatches per token"] == "184" and "Architecture" not in pairs
    load = rows(chat, "load-chart")
    assert load[0] == ["Start Python", "3.0 s", 0, 75]
    assert load[2][2:] == [77.5, 10] and load[-1] == ["Total", "4.0 s", 0, 100]
    assert rows(chat, "memory-chart")[0] == ["Weights", "90 MB", 0, 90]
    chat.get("measure").click()
    expect(panel).to_contain_text("One token takes 10.0 ms at position 64. By the GPU")
    kernels = rows(chat, "kernel-chart")
    assert kernels[0] == ["norm_linear 960x576 affine4", "30 × 250.0\u00a0µs", "75.0\u00a0%", "1.3 GB/s", 0, 100]
    assert kernels[1][3] == "" and round(kernels[1][5]) == 33
    chat.page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert chat.errors == []


def test_without_a_model_none_is_loaded(chat):
    panel = opened(chat, start=False)
    expect(panel).to_contain_text("No model is loaded")
    assert chat.page.evaluate("globalThis.engineLoads ?? 0") == 0


def test_a_refusal_is_told(chat):
    panel = opened(chat, stats=STATS)
    chat.get("measure").click()
    expect(panel).to_contain_text("The engine is busy. Wait for it.")
    expect(chat.get("measure")).to_be_enabled()


def test_the_self_test_says_what_is_right_and_what_is_not(chat):
    rows_ = [{"what": "chain", "dispatches": n, "passes": 1, "submits": 1, "right": n < 100}
             for n in (64, 128)]
    report = {"layout": [1, 64], "off": [], "rows": rows_, "ms": 83.4, "cached": False}
    device = {**STATS["device"], "notice": "Jird now works in safe mode."}
    panel = opened(chat, stats={**STATS, "device": device}, selftest=report)
    expect(chat.get("device-notice")).to_have_text("Jird now works in safe mode.")
    chat.get("selftest").click()
    expect(chat.get("selftest-result")).to_contain_text("1 of 2 trials are right, in 83 ms: 64")
    expect(panel).to_contain_text("chain: 128 / 1 / 1")
