"""The parts of speech that need no browser: rates, the loudspeaker's ring, sentences, and when
somebody speaks. They run in Node."""
import json
import subprocess

import numpy as np
import pytest

from tests.speech import voice

pytest_plugins = ["tests.browser.page_kit"]

SETUP = """
globalThis.window = globalThis.self = globalThis;
globalThis.AudioWorkletProcessor = class {
  constructor() { this.port = { out: [], postMessage(message) { this.out.push(message); } }; }
};
globalThis.registerProcessor = (name, made) => (globalThis.made = made);
globalThis.sampleRate = 48000;
const { readFileSync } = await import("node:fs");
const [root, ...files] = process.argv.slice(1);
const take = (name) => import(`${root}/js/${name}`);
const floats = (path) => { const raw = readFileSync(path);
  return new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length)); };
const say = (value) => console.log(JSON.stringify(value));
"""


@pytest.fixture
def node(page_root, tmp_path):
    """node(script, *arrays) -> what the script `say`s; the arrays are f32 files in `files`."""
    (page_root / "package.json").write_text('{"type": "module"}')

    def run(script, *arrays):
        paths = []
        for i, array in enumerate(arrays):
            paths.append(tmp_path / f"{i}.f32")
            paths[-1].write_bytes(np.asarray(array, "<f4").tobytes())
        ran = subprocess.run(["node", "--input-type=module", "-e", SETUP + script, str(page_root),
                              *map(str, paths)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


RESAMPLE = """const { Resampler } = await take("audio/resampler.js");
const samples = floats(files[0]);
const resampled = (cuts) => {
  const resampler = new Resampler(FROM, TO);
  const found = [];
  for (let at = 0, i = 0; at < samples.length; i++) {
    const size = cuts[i % cuts.length];
    found.push(...resampler.push(samples.subarray(at, at + size)));
    at += size;
  }
  found.push(...resampler.flush());
  return found;
};
say([resampled([samples.length]), resampled([1, 7, 83, 769])]);"""


@pytest.mark.parametrize("rate, to", [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000),
                                      (22_050, 48_000), (16_000, 16_000), (96_000, 16_000)])
def test_another_rate_keeps_the_tone_and_drops_what_it_cannot_hold(node, rate, to):
    """A tone of 1 kHz within 60 dB; one above half the new rate is gone by 50 dB."""
    t = np.arange(rate) / rate
    high = 0.8 * rate / 2
    tone = np.sin(2 * np.pi * 1000 * t)
    script = RESAMPLE.replace("FROM", str(rate)).replace("TO", str(to))
    whole, cut = (np.array(x) for x in node(script, tone))
    assert np.array_equal(whole, cut), "blocks of another size, other samples"
    assert len(whole) == to
    wanted = np.sin(2 * np.pi * 1000 * np.arange(len(whole)) / to)
    middle = slice(to // 10, to - to // 10)
    assert np.abs(whole - wanted)[middle].max() < 1e-3
    if high > to / 2:
        aliased = np.array(node(script, np.sin(2 * np.pi * high * t))[0])
        assert np.abs(aliased[middle]).max() < 10 ** (-50 / 20)


def test_one_sample_and_none_are_no_trouble(node):
    script = RESAMPLE.replace("FROM", "44100").replace("TO", "16000")
    for count in (0, 1):
        whole, cut = node(script, np.ones(count))
        assert whole == cut and len(whole) <= 1


RING = """await take("audio/playback_worklet.js");
const ring = new made({ processorOptions: { capacity: 1000 } });
const tell = (data) => ring.port.onmessage({ data });
const heard = [];
const play = (blocks) => {
  for (let i = 0; i < blocks; i++) {
    const out = new Float32Array(128);
    ring.process([], [[out]]);
    heard.push(...out);
  }
};
const ramp = (n, from) => Float32Array.from({ length: n }, (_, i) => (from + i) / 10000);
"""


def test_the_ring_plays_in_order_over_its_end(node):
    heard, out = node(RING + """
tell({ samples: ramp(256, 0) });
for (let i = 1; i < 30; i++) { tell({ samples: ramp(256, 256 * i) }); play(2); }
tell({ end: true }); play(3);
say([heard, ring.port.out]);""")
    heard = np.array(heard)
    whole = heard[64:30 * 256]  # behind the fade at the beginning
    assert np.abs(whole - np.arange(64, 30 * 256) / 10000).max() < 1e-6
    assert out[-1]["drained"] and out[-1]["played"] == 30 * 256


def test_a_ring_that_runs_dry_fades_and_goes_on(node):
    heard = np.array(node(RING + """
tell({ samples: new Float32Array(300).fill(0.5) }); play(6);
tell({ samples: new Float32Array(300).fill(0.5) }); play(4);
say(heard);"""))
    assert np.abs(np.diff(heard)).max() < 0.5 / 32, "a click"
    assert heard[200] == 0.5 and heard[500] == 0 and abs(heard[6 * 128 + 200] - 0.5) < 1e-6


def test_a_flush_is_silent_with_the_next_block(node):
    heard, out, over = node(RING + """
tell({ samples: new Float32Array(900).fill(0.5) }); play(2);
tell({ flush: true }); play(2);
let over = "";
try { tell({ samples: new Float32Array(1001) }); } catch (error) { over = error.name; }
say([heard, ring.port.out, over]);""")
    assert max(heard[2 * 128 + 64:]) == 0 and heard[255] == 0.5
    assert [m for m in out if m.get("flushed")] == [{"played": 256, "flushed": True}]
    assert over == "RangeError"


SPEAKS = """const { VoiceActivity } = await take("audio/voice_activity.js");
const found = [];
for (const file of files) {
  const activity = await VoiceActivity.create(320);
  const samples = floats(file), events = [];
  for (let at = 0; at + 320 <= samples.length; at += 320) {
    const change = activity.push(samples.subarray(at, at + 320));
    if (change) events.push([change, (at + 320) / 16000]);
  }
  activity.close();
  found.push(events);
}
say(found);"""


def test_speech_is_told_from_silence_and_noise(node):
    rng = np.random.default_rng(7)
    pause, noise = np.zeros(16_000), 0.01 * rng.normal(size=80_000)
    speech = np.concatenate([pause, voice(2.0), pause, voice(1.0, seed=1), pause])
    inside = speech + 0.01 * rng.normal(size=len(speech))
    found = node(SPEAKS, pause, noise, speech, inside, np.clip(20 * speech, -1, 1))
    assert found[0] == found[1] == []
    for events in found[2:]:
        assert [name for name, _ in events] == ["begin", "end", "begin", "end"]
        begins = [at for name, at in events if name == "begin"]
        assert np.allclose(begins, [1.1, 4.1], atol=0.1), "later than 200 ms cannot interrupt"


CUT = """const { Sentences } = await take("audio/sentences.js");
const grown = (text, step) => {
  const sentences = new Sentences(), found = [];
  for (let at = step; at < text.length + step; at += step) found.push(...sentences.grow(text.slice(0, at)));
  return [...found, ...sentences.end()];
};
const texts = JSON.parse(readFileSync(files[0] + ".json", "utf8"));
say(texts.map((text) => [1, 7, 10_000].map((step) => grown(text, step))));"""
TEXTS = {
    "One. Two! Three? And four": ["One.", "Two!", "Three?", "And four"],
    "Dr. Who met Mrs. Smith at 3.15. They left, e.g. by train.":
        ["Dr. Who met Mrs. Smith at 3.15.", "They left, e.g. by train."],
    "# A heading\n\nSome **bold** text with `code`.\n- one thing\n- another\n":
        ["A heading", "Some bold text with code.", "one thing", "another"],
    "Before.\n```py\nprint('. not read')\n```\nAfter it.": ["Before.", "After it."],
    "Before.\n```py\nx = 1": ["Before."],
    "See [the page](https://example.org/a/b?c=d) or https://example.com/x/y. Done.":
        ["See the page or example.com", "Done."],
    "Good 👍🏽 work! 🎉🎉": ["Good work!"],
    "これは文です。次の文です。": ["これは文です。", "次の文です。"],
    "...": [], "": [], "\n\n\n": [],
    "1. First\n2. Second": ["First", "Second"],
}


def test_sentences_come_as_soon_as_they_are_whole(node, tmp_path):
    (tmp_path / "0.f32.json").write_text(json.dumps(list(TEXTS)))
    for (text, wanted), (slow, some, whole) in zip(TEXTS.items(), node(CUT, [0]), strict=True):
        assert slow == some == whole == wanted, text


def test_5000_words_without_a_point_are_cut_for_the_voice(node, tmp_path):
    words = " ".join(["word"] * 5000)
    (tmp_path / "0.f32.json").write_text(json.dumps([words, "x" * 5000, "😀a" * 900]))
    long, hard, emoji = node(CUT, [0])
    for found in long:
        assert max(map(len, found)) <= 300 and " ".join(found) == words
    assert "".join(hard[2]) == "x" * 5000
    assert set("".join(emoji[2])) == {"a"}


def test_times_and_subtitles(node):
    found = node("""const { clock, subtitles } = await take("ui/voice/transcript.js");
say([[0, 64.9, 3604].map(clock), subtitles([{ start: 0, end: 1.25, text: " a " },
  { start: 3599.9996, end: 3661.5, text: "b" }])]);""")
    assert found == [["0:00", "1:04", "1:00:04"],
                     "1\n00:00:00,000 --> 00:00:01,250\na\n\n"
                     "2\n01:00:00,000 --> 01:01:01,500\nb\n"]
