"""Ears in the browser: the tiny checkpoint's numbers on its WebGPU, the API in every form, sessions,
the service worker's route, and the real model where it was fetched."""
import gzip
import json
import shutil

import numpy as np
import pytest

from app.build import made, settings
from app.build.fetch import Cache
from pyengine.audio.wav import write_wav
from tests.audio.test_segments import silence, speech
from tests.browser import engine_in_page as in_page
from tests.browser.api_kit import byte_tokenizer
from tests.browser.engine_page import EnginePage
from tests.browser.pwa_kit import make_worker
from tests.models import moonshine_reference as reference
from tests.models.families import LIMITS, TIE
from tests.support import link_site

TINY = "models-tiny/moonshine"
SENTENCE = "Ever tried, ever failed, no matter, try again, fail again, fail better."
PAGE = "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>x</title>"
START = """async (given) => {
    const { createEngine } = await import("./jird.js");
    window.engine = await createEngine(given);
    window.recording = async (name) => (await fetch(name)).blob();
}"""
CHAT = {"model": "./tiny/", "quant": "keep", "kv": "f32", "context": 256}


@pytest.fixture(scope="module")
def numbers(browser, dist, goldens):
    from app.build import server
    url, stop = server.serve_in_thread(dist, "/some/where/")
    page = EnginePage(browser, url, goldens)
    yield page
    assert page.errors == []
    page.close()
    stop()


def test_the_browser_s_gpu_gives_the_reference_s_numbers(numbers, goldens):
    arrays = np.load(goldens / TINY / "golden.npz")
    found = numbers.run(in_page.heard, folder=TINY, wav=arrays["wav"].tolist(), rows=40,
                        ids=arrays["decoder_ids"].tolist(), count=12)
    assert np.abs(np.array(found["last"]) - arrays["enc_last"]).max() < LIMITS["native"]
    assert np.abs(np.array(found["logits"]) - arrays["logits_last"]).max() < LIMITS["native"]
    until = next((i for i, m in enumerate(arrays["margins"]) if m < TIE), 12)
    assert found["greedy"][:until] == arrays["greedy"][1:1 + until].tolist()


def test_heads_of_real_sizes_in_the_browser(numbers, goldens, tmp_path):
    """52 dims a head, of which 32 rotate, against an independent implementation."""
    config = reference.REAL_HEADS
    want = reference.Reference(config, tensors := reference.weights(config))
    folder = reference.write(tmp_path / "real-heads", config, tensors)
    numbers.page.route("**/goldens/real-heads/*", lambda route: route.fulfill(
        path=folder / route.request.url.rpartition("/")[2]))
    wav, ids = np.load(goldens / TINY / "golden.npz")["wav"], [1, 7, 9, 30, 83, 257]
    found = numbers.run(in_page.heard, folder="real-heads", wav=wav.tolist(), rows=40, ids=ids, count=12)
    encoded = want.encode(wav)
    logits = want.logits(encoded, ids)[-1]
    assert np.abs(np.array(found["last"]) - encoded[-1]).max() < LIMITS["native"]
    assert np.abs(np.array(found["logits"]) - logits).max() < LIMITS["native"] < logits.std() / 100
    for n, token in enumerate(found["greedy"]):
        row = want.logits(encoded, [1, *found["greedy"][:n]])[-1]
        assert row[token] > row.max() - TIE


def recordings():
    """{file name: WAV bytes}: two sentences a pause apart, at other rates, and what is none."""
    x = np.concatenate([silence(0.5), speech(2), silence(3), speech(1.5), silence(0.5)])
    stereo = write_wav(np.repeat(x, 2), 16000)
    return {"two.wav": write_wav(x, 16000), "fast.wav": write_wav(np.repeat(x, 3), 48000),
            "stereo.wav": stereo[:22] + b"\x02\x00" + stereo[24:32] + b"\x04\x00" + stereo[34:],
            "silence.wav": write_wav(silence(3), 16000), "one.wav": write_wav(x[:1], 16000),
            "broken.wav": stereo[:30], "text.wav": b"no sound at all"}


@pytest.fixture(scope="module")
def root(dist, goldens, tmp_path_factory):
    """The site with a tiny chat model and tiny ears, whose token i is the byte i."""
    root = link_site(dist, tmp_path_factory.mktemp("ears") / "app",
                     ("*.gguf", "moonshine-tiny", "index.json"))
    shutil.copytree(goldens / "models-tiny/llama", root / "tiny")
    folder = root / "models" / "moonshine-tiny"
    folder.mkdir(parents=True)
    for name in ("config.json", "generation_config.json"):
        shutil.copy(goldens / TINY / name, folder)
    packed = (goldens / TINY / "model.safetensors.gz").read_bytes()
    (folder / "model.safetensors").write_bytes(gzip.decompress(packed))
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    files = [{"name": path.name, "bytes": path.stat().st_size} for path in folder.iterdir()]
    row = {"id": "moonshine-tiny", "name": "Tiny ears", "license": "none", "files": files,
           "bytes": sum(file["bytes"] for file in files)}
    index = {"models": json.loads((dist / "models/index.json").read_text())["models"], "audio": [row]}
    (root / "models/index.json").write_text(json.dumps(index))
    (root / "blank.html").write_text(PAGE)
    for name, data in recordings().items():
        (root / name).write_bytes(data)
    make_worker(root)
    return root


@pytest.fixture(scope="module")
def page(browser, root):
    from app.build import server
    url, stop = server.serve_in_thread(root, "/some/app/")
    context = browser.new_context(service_workers="allow")
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(url + "blank.html")
    page.evaluate(START, CHAT)
    yield page
    context.close()
    stop()


CREATE = """async ([name, more]) => {
    const file = await recording(name);
    try {
        return await engine.audio.transcriptions.create({ file, ...more });
    } catch (error) {
        return { code: error.code, param: error.param, message: error.message };
    }
}"""


def create(page, name, **more):
    return page.evaluate(CREATE, [name, more])


def test_every_form_of_answer(page):
    plain = create(page, "two.wav")
    assert set(plain) == {"text"} and plain["text"]
    found = create(page, "two.wav", response_format="verbose_json",
                   timestamp_granularities=["word", "segment"])
    assert found["text"] == plain["text"] and found["duration"] == 7.5
    first, second = found["segments"]
    assert first["start"] < 0.6 and 5 < second["start"] < 5.7 and found["words"]
    assert create(page, "two.wav", response_format="text") == plain["text"] + "\n"
    assert create(page, "two.wav", response_format="vtt").startswith("WEBVTT\n\n00:00:0")


def test_other_rates_and_channels_are_heard(page):
    for name in ("fast.wav", "stereo.wav"):
        found = create(page, name, response_format="verbose_json")
        assert found["duration"] == pytest.approx(7.5, abs=0.01) and len(found["segments"]) == 2


def test_what_holds_no_speech_and_what_is_no_recording(page):
    assert create(page, "silence.wav") == {"text": ""} == create(page, "one.wav")
    for name in ("broken.wav", "text.wav"):
        assert create(page, name)["code"] == "E_BAD_AUDIO"
    assert create(page, "two.wav", language="fr")["param"] == "language"
    assert create(page, "two.wav", voice="x")["param"] == "voice"
    assert create(page, "two.wav", model="nobody")["code"] == "E_BAD_REQUEST"


def test_a_stream_ends_with_the_whole_text(page):
    events = page.evaluate("""async () => {
        const file = await recording("two.wav"), found = [];
        const stream = await engine.audio.transcriptions.create({ file, stream: true });
        for await (const event of stream) found.push(event);
        return found;
    }""")
    assert [e["type"] for e in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
    assert events[-1] == {"type": "transcript.text.done", "text": create(page, "two.wav")["text"]}


def test_a_session_hears_what_the_file_says(page):
    """Pushed in odd pieces at 16 kHz; partial texts come while more is said."""
    found = page.evaluate("""async () => {
        const { samplesOf } = await import("./js/audio/decode.js");
        const { samples } = await samplesOf(await recording("two.wav"));
        const partials = [], finals = [], errors = [];
        const session = engine.audio.transcriptions.session({
            onPartial: (heard) => partials.push(heard), onFinal: (segment) => finals.push(segment),
            onError: (error) => errors.push(error.message) });
        for (let at = 0; at < samples.length; at += 7001) {
            session.push(samples.subarray(at, at + 7001));
            await new Promise((go) => setTimeout(go, 100));
        }
        const text = await session.flush();
        const empty = await engine.audio.transcriptions.session().flush();
        return { text, partials, finals, errors, empty };
    }""")
    assert found["errors"] == [] and found["empty"] == "" and found["partials"]
    assert found["text"] == found["partials"][-1]["text"] == create(page, "two.wav")["text"]
    assert [round(s["start"]) for s in found["finals"]] == [0, 5]


def test_a_session_that_is_cancelled_says_nothing_more(page):
    assert page.evaluate("""async () => {
        let told = 0;
        const session = engine.audio.transcriptions.session({ onPartial: () => told++, onError: () => told++ });
        session.push(new Float32Array(32000).map(() => Math.random() - 0.5));
        session.cancel();
        const over = await session.flush().then(() => "text", (error) => error.name);
        await new Promise((go) => setTimeout(go, 300));
        return { told, over, requests: (await engine.stats()).live.requests };
    }""") == {"told": 0, "over": "AbortError", "requests": 0}


def test_stats_say_who_is_loaded(page):
    create(page, "one.wav")
    stats = page.evaluate("engine.stats()")
    assert set(stats["residents"]) == {"chat", "ears"} and stats["memory_notice"] is None


def test_the_service_worker_s_route(page):
    """As OpenAI's clients send it: a multipart form."""
    found = page.evaluate("""async () => {
        const { apiURL } = await import("./jird.js");
        const base = await apiURL();
        const ask = async (fields, file = "two.wav") => {
            const form = new FormData();
            if (file) form.append("file", new File([await recording(file)], file));
            for (const [name, value] of fields) form.append(name, value);
            const reply = await fetch(`${base}/audio/transcriptions`, { method: "POST", body: form });
            return [reply.status, reply.headers.get("content-type"), await reply.text()];
        };
        return {
            json: await ask([["model", "moonshine-tiny"], ["temperature", "0"]]),
            verbose: await ask([["response_format", "verbose_json"], ["timestamp_granularities[]", "word"]]),
            srt: await ask([["response_format", "srt"]]),
            stream: await ask([["stream", "true"]]),
            missing: await ask([], null),
            corrupt: await ask([], "text.wav"),
            get: (await fetch(`${base}/audio/transcriptions`)).status,
        };
    }""")
    want = create(page, "two.wav")
    assert found["json"][0] == 200 and json.loads(found["json"][2]) == want
    assert json.loads(found["verbose"][2])["words"] and found["srt"][2].startswith("1\n00:00:0")
    assert found["srt"][1] == "application/x-subrip; charset=utf-8"
    assert '"transcript.text.done"' in found["stream"][2] and "[DONE]" in found["stream"][2]
    assert (found["missing"][0], found["corrupt"][0], found["get"]) == (400, 400, 405)
    assert json.loads(found["corrupt"][2])["error"]["code"] == "E_BAD_AUDIO"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_real_model_hears_the_recording(browser, dist, tmp_path):
    """On SwiftShader, within three times the recording's length."""
    model, cache = settings.MADE_MODELS[0], Cache()
    folder = made.made(cache).get(model)
    if folder is None:
        pytest.skip("python3 build.py fetch moonshine-tiny makes it")
    from app.build import server
    root = link_site(dist, tmp_path / "app", ("*.gguf",))
    shutil.copytree(folder, root / "ears")
    shutil.copytree(settings.ROOT / "tests/goldens/models-tiny/llama", root / "tiny")
    (root / "blank.html").write_text(PAGE)
    url, stop = server.serve_in_thread(root, "/some/app/")
    page = browser.new_context(service_workers="block").new_page()
    page.set_default_timeout(300_000)
    page.goto(url + "blank.html")
    page.evaluate(START, CHAT)
    found = page.evaluate("""async () => {
        const file = await recording("ears/beckett.wav"), took = [], texts = [];
        for (let i = 0; i < 3; i++) {
            const began = performance.now();
            texts.push((await engine.audio.transcriptions.create({ file, model: "./ears/" })).text);
            took.push((performance.now() - began) / 1000);
        }
        return { took, texts };
    }""")
    stop()
    print(json.dumps(found))
    assert found["texts"] == [SENTENCE] * 3 and min(found["took"][1:]) < 3 * 9.97
