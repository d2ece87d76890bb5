"""The whole path on the real default model: the page, the worker, Python, WGSL kernels, SwiftShader."""
import json
import subprocess
import sys

import pytest

from app.build import settings
from tests.e2e.heap import LIMIT, growth_of_a_load

MODEL = "models/smollm2-135m-instruct/model.gguf"
LOAD_SECONDS = 120
ANSWER_SECONDS = 180

RAW_PROMPT = """async () => {
    const { createEngine } = await import("./jird.js");
    const stages = [];
    const engine = await createEngine({ burst: 1, onProgress: ({ stage }) => stages.at(-1) !== stage && stages.push(stage) });
    const body = { prompt: "1, 2, 3, 4, 5,", temperature: 0, max_tokens: 16 };
    const answer = await engine.completions.create(body);
    let streamed = "";
    for await (const chunk of await engine.completions.create({ ...body, stream: true })) streamed += chunk.choices[0]?.text ?? "";
    const stats = await engine.stats();
    await engine.unload();
    return { text: answer.choices[0].text, finish: answer.choices[0].finish_reason, usage: answer.usage, streamed, stats, stages };
}"""


@pytest.fixture
def opened(page, site, outside):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: m.type == "error" and errors.append(m.text))
    page.goto(site.url)
    yield page
    assert errors == []
    assert outside == [], "a request left the origin"
    assert all(url.startswith(site.url) for url in page.evaluate("performance.getEntries().map((e) => e.name)")
               if url.startswith("http"))


def test_the_raw_prompt_continues_and_the_stats_are_those_of_inspect(opened, dist, tmp_path):
    result = opened.evaluate(RAW_PROMPT)
    assert result["text"] == result["streamed"] == " 6, 7, 8, 9, 10,"
    assert result["finish"] == "length"
    assert result["usage"] == {"prompt_tokens": 14, "completion_tokens": 16, "total_tokens": 30}
    stats = result["stats"]
    assert stats["device"]["backend"] == "webgpu"
    assert stats["submits_per_token"] == 1
    caps = tmp_path / "caps.json"
    caps.write_text(json.dumps({"software": stats["device"]["vendor"] == "google"}))  # SwiftShader's
    inspected = json.loads(subprocess.run(
        [sys.executable, "-m", "app.cli", "inspect", "--model", str(dist / MODEL), "--context", str(stats["context"]),
         "--caps", str(caps), "--json"],
        cwd=settings.ROOT, check=True, capture_output=True, text=True).stdout)
    assert stats["dispatches_per_token"] == inspected["dispatches_per_token"]
    assert stats["bytes"] == inspected["bytes"]
    print(f"decode {stats['decode_tps']:.2f} tok/s, first token {stats['ttft_ms']:.0f} ms, load {stats['load_ms']}")


def test_a_person_asks_and_sees_the_answer_stream(opened):
    page = opened
    page.set_default_timeout(LOAD_SECONDS * 1000)
    page.get_by_test_id("start").click()
    page.locator("[data-testid=status][data-state=ready]").wait_for()
    page.get_by_test_id("composer").fill("What is the capital of France?")
    page.get_by_test_id("send").click()
    answer = page.get_by_test_id("message-assistant").last.locator(".md")
    seen = []
    for _ in range(ANSWER_SECONDS * 5):
        text = answer.inner_text() if answer.count() else ""
        if text and text not in seen:
            seen.append(text)
        if len(seen) > 4 or not page.locator("html[data-busy]").count():
            break
        page.wait_for_timeout(200)
    assert len(seen) > 3, f"the text came in one piece: {seen}"
    assert all(later.startswith(earlier) for earlier, later in zip(seen, seen[1:])), seen
    if page.locator("html[data-busy]").count():
        page.get_by_test_id("stop").click()
        page.locator("html:not([data-busy])").wait_for(state="attached")
    text = answer.inner_text()
    assert text.startswith(seen[-1]) and "<|im_end|>" not in text
    assert "tok/s" in page.get_by_test_id("stats").last.inner_text()
    page.reload()
    assert text in page.get_by_test_id("message-assistant").last.inner_text()


def test_loading_grows_the_heap_by_little(opened):
    assert growth_of_a_load(opened, "smollm2-135m-instruct") <= LIMIT
