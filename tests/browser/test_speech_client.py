"""`engine.audio.speech` over a fake worker: sound as a Response, as it is made, and given up."""
import base64
import io
import wave

pytest_plugins = ["tests.browser.client_kit"]
BYTES = """const bytes = async (response) => btoa(String.fromCharCode(
    ...new Uint8Array(await response.arrayBuffer())));"""


def test_a_wav_file_and_raw_samples(tab):
    found = tab.evaluate("""async () => {
        %s
        const engine = await create({ model: "default" });
        const stages = [];
        const wav = await engine.audio.speech.create({ input: "a b", voice: "ada",
            onProgress: ({ stage }) => stages.push(stage) });
        const pcm = await engine.audio.speech.create({ input: "a b", response_format: "pcm" });
        return { type: wav.headers.get("content-type"), rate: pcm.headers.get("x-sample-rate"),
            wav: await bytes(wav), pcm: await bytes(pcm), raw: pcm.headers.get("content-type"),
            stages, refused: await caught(engine.audio.speech.create({ input: "" })),
            odd: await caught(engine.audio.speech.create("x")) };
    }""" % BYTES)
    assert (found["type"], found["raw"], found["rate"]) == ("audio/wav", "audio/pcm", "22050")
    raw = base64.b64decode(found["pcm"])
    with wave.open(io.BytesIO(base64.b64decode(found["wav"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (22050, 1, 4)
        assert file.readframes(4) == raw
    assert [int.from_bytes(raw[i:i + 2], "little", signed=True) for i in range(0, 8, 2)] == [
        0, 0, 8192, -8192]
    assert found["stages"] == ["ready"]
    assert found["refused"]["code"] == found["odd"]["code"] == "E_BAD_REQUEST"


def test_speech_as_it_is_made_and_left_early(tab):
    found = tab.evaluate("""async () => {
        const engine = await create({ model: "default" });
        const said = [];
        const stream = await engine.audio.speech.create({ input: "a b c", stream: true });
        for await (const { samples, sampleRate, text } of stream) {
            said.push([text, sampleRate, samples instanceof Float32Array, samples.length]);
        }
        const before = (await engine.stats()).generated;
        const long = "w ".repeat(3000).trim();
        for await (const one of await engine.audio.speech.create({ input: long, stream: true })) {
            if (one.sentence === 2) break;
        }
        const silence = new AbortController(), heard = [];
        const made = { input: "a b c", stream: true, delay: 0 };
        for await (const { text } of await engine.audio.speech.create(made, { signal: silence.signal })) {
            heard.push(text);
            await sleep(200); // the rest is made meanwhile
            silence.abort();
        }
        const ending = new AbortController();
        const aborted = engine.audio.speech.create({ input: long }, { signal: ending.signal });
        setTimeout(() => ending.abort(), 20);
        const told = await caught(aborted);
        await sleep(50);
        const after = (await engine.stats()).generated;
        await sleep(100);
        return { said, heard, told, made: after - before, later: (await engine.stats()).generated - after,
            refused: await caught(engine.audio.speech.create({ input: "", stream: true })) };
    }""")
    assert found["heard"] == ["a"], "what is over is not said on"
    assert found["said"] == [[word, 22050, True, 2] for word in "abc"]
    assert found["told"]["name"] == "AbortError" and found["refused"]["code"] == "E_BAD_REQUEST"
    assert found["made"] < 3000 and found["later"] == 0


def test_another_tab_hears_samples_too(tab, open_tab):
    tab.evaluate("async () => { window.engine = await create({ model: 'default' }); }")
    other = open_tab()
    found = other.evaluate("""async () => {
        const engine = await create({ model: "default" });
        const sound = await engine.audio.speech.create({ input: "a b", response_format: "pcm" });
        const size = (await sound.arrayBuffer()).byteLength;
        await engine.unload();
        return { size, role: hub.role };
    }""")
    assert found["size"] == 8
    other.close()
