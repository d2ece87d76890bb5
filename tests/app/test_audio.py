"""Transcription requests and answers: what is refused, and every format of one transcript."""
import asyncio
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from app import audio, cli
from pyengine.audio.transcriber import Heard, Word
from pyengine.audio.wav import write_wav
from tests.checkpoints import refused
from tests.models.families import GOLDENS

HEARD = [Heard(0.5, 2.25, "Ever tried. Ever failed.",
               (Word("Ever", 0.5, 0.75), Word("tried.", 0.8, 1.0), Word("Ever", 1.5, 1.75),
                Word("failed.", 1.8, 2.0)), True, "stop"),
         Heard(3661.0, 3662.5, "No matter", (Word("No", 3661.0, 3661.5),
                                             Word("matter", 3661.5, 3662.3456)), True, "stop")]


def answered(form, **more):
    return audio.answer(audio.parse({"response_format": form, **more}), HEARD, 3700.0)


def test_plain_answers():
    text = "Ever tried. Ever failed. No matter"
    assert answered("json") == {"text": text} == audio.answer(audio.parse({}), HEARD, 1)
    assert answered("text")["body"] == text + "\n"
    assert audio.done(HEARD) == {"type": "transcript.text.done", "text": text}
    assert audio.whole_text([]) == ""


def test_verbose_json():
    found = answered("verbose_json")
    assert found["duration"] == 3700 and found["language"] == "english" and "words" not in found
    assert found["segments"][1] == {"id": 1, "start": 3661.0, "end": 3662.5, "text": "No matter",
                                    "finish_reason": "stop"}
    found = answered("verbose_json", timestamp_granularities=["word"])
    assert found["words"][-1] == {"word": "matter", "start": 3661.5, "end": 3662.346}
    assert "segments" not in found
    json.dumps(found)


def test_captions():
    assert answered("srt")["body"] == (
        "1\n00:00:00,500 --> 00:00:01,000\nEver tried.\n\n"
        "2\n00:00:01,500 --> 00:00:02,000\nEver failed.\n\n"
        "3\n01:01:01,000 --> 01:01:02,346\nNo matter\n")
    vtt = answered("vtt")
    assert vtt["body"].startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.000\nEver tried.\n")
    assert vtt["content_type"] == "text/vtt; charset=utf-8"


def test_a_live_answer():
    found = audio.live_answer(HEARD, 16000, 3.0)
    assert found["consumed"] == 48000 and found["segments"][0]["closed"] is True
    assert [w["word"] for w in found["segments"][1]["words"]] == ["No", "matter"]


@pytest.mark.parametrize("body, param", [
    ({"file": "x"}, "file"), ({"language": "de"}, "language"), ({"language": 3}, "language"),
    ({"prompt": "hi"}, "prompt"), ({"temperature": 0.7}, "temperature"),
    ({"response_format": "xml"}, "response_format"), ({"response_format": 1}, "response_format"),
    ({"timestamp_granularities": "word"}, "timestamp_granularities"),
    ({"timestamp_granularities": ["line"]}, "timestamp_granularities"),
    ({"sample_rate": 0}, "sample_rate"), ({"sample_rate": True}, "sample_rate"),
    ({"stream": 1}, "stream"), ({"stream": True, "response_format": "srt"}, "stream"),
    ({"model": 5}, "model")])
def test_what_is_wrong_is_named(body, param):
    assert refused("E_BAD_REQUEST", lambda: audio.parse(body)).facts["param"] == param


def test_what_openai_s_clients_send_is_taken():
    request = audio.parse({"model": "moonshine-tiny", "language": "en-GB", "temperature": 0,
                           "prompt": "", "response_format": "verbose_json",
                           "timestamp_granularities": ["word", "segment"]})
    assert request.words and request.segments and request.model == "moonshine-tiny"


@pytest.mark.parametrize("data, said", [
    (b"", "no samples"), (b"123", "whole samples"), (struct.pack("<f", float("inf")), "infinite"),
    (bytes(4 * 1000 * (4 * 3600 + 1)), "4 hours")])
def test_samples_that_are_none(data, said):
    assert said in refused("E_BAD_AUDIO", lambda: audio.to_samples(data, 1000)).message


def test_samples_come_at_the_model_s_rate():
    assert len(audio.to_samples(np.ones(480, "<f4").tobytes(), 48000)) == 160


def args(path, model, **more):
    given = {"json": True, "model": str(model), "device": "numpy", "quant": None, "kv": "f32",
             "context": None, "burst": "auto", "tune": "off", "file": str(path),
             "format": "text", "words": False, "repeat": 1}
    return SimpleNamespace(**{**given, **more})


def test_the_command_line_refuses_what_it_cannot_hear(tmp_path):
    """No file, no recording, a model without ears."""
    file, llama = tmp_path / "a.wav", GOLDENS / "models-tiny" / "llama"
    run = lambda **more: asyncio.run(cli.transcribe(args(file, llama, **more)))  # noqa: E731
    assert refused("E_NO_FILE", run).facts["path"] == str(file)
    file.write_bytes(b"no sound")
    refused("E_BAD_AUDIO", run)
    file.write_bytes(write_wav(np.zeros(16000), 16000))
    assert "hears" in refused("E_BAD_REQUEST", run).message
    assert "repeat" in refused("E_BAD_REQUEST", lambda: run(repeat=0)).message
