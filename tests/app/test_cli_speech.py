"""`python -m app.cli speak` with the tiny voice, and what a speech request may say."""
import io
import json
import wave
from pathlib import Path

import pytest

from app import cli, speech
from tests.audio.voice_kit import write_codec, write_voice
from tests.checkpoints import refused


SPEAKER = str(Path(__file__).parents[1] / "goldens" / "models-tiny" / "lfm2" / "generation_config.json")


@pytest.fixture(scope="module")
def folders(goldens, tmp_path_factory):
    root = tmp_path_factory.mktemp("voice")
    voice = write_voice(goldens, root / "voice",
                        speaker_settings={"speaker_list": ["ada", "bob"]})
    return voice, write_codec(goldens, root / "codec")


def speak(capsys, folders, out, *more, text="Hi there. Yes."):
    voice, codec = folders
    status = cli.main(["speak", "--model", str(voice), "--codec", str(codec), "--text", text, "--out",
                       str(out), "--device", "numpy", "--quant", "keep", "--context", "400", *more])
    return status, capsys.readouterr()


def test_a_wav_file_is_written(capsys, folders, tmp_path):
    out = tmp_path / "said.wav"
    status, said = speak(capsys, folders, out, "--json", "--voice", "bob", "--seed", "3")
    assert status == 0
    report = json.loads(said.out)
    assert report["voices"] == ["ada", "bob"] and report["sentences"] == 2
    with wave.open(io.BytesIO(out.read_bytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22050, 1, 2)
        pause = int(0.15 * 22050)
        assert file.getnframes() == report["frames"] * 1764 + pause
    again = tmp_path / "again.wav"
    speak(capsys, folders, again, "--voice", "bob", "--seed", "3")
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("more, code", [
    (["--voice", "nobody"], "E_BAD_REQUEST"), (["--temperature", "-1"], "E_BAD_REQUEST"),
    (["--speaker", "/no/such.json"], "E_NO_FILE"), (["--speaker", SPEAKER], "E_BAD_FILE"),
    (["--out", "/no/such/folder/x.wav"], "E_NO_FILE"), (["--codec", "/no/such"], "E_NO_FILE")])
def test_what_cannot_be_is_told(capsys, folders, tmp_path, more, code):
    status, said = speak(capsys, folders, tmp_path / "x.wav", "--json", *more, text="Hi.")
    assert status == 2 and json.loads(said.out)["error"]["code"] == code


@pytest.mark.parametrize("name", ["no/such/folder/x.wav", "", "."])
def test_where_it_cannot_be_written_is_told_before_a_voice_is_loaded(capsys, tmp_path, name):
    out = tmp_path / name if name != "" else ""
    status, said = speak(capsys, ("no/voice", "no/codec"), out, "--json")
    error = json.loads(said.out)["error"]
    assert status == 2 and (error["code"], error["facts"]["path"]) == ("E_NO_FILE", str(out))


def test_a_text_without_words_is_told(capsys, folders, tmp_path):
    status, said = speak(capsys, folders, tmp_path / "x.wav", text="\U0001f600")
    assert status == 2 and "E_BAD_REQUEST" in said.err and not (tmp_path / "x.wav").exists()


def test_a_request():
    found = speech.parse({"model": "m", "input": "Hi", "voice": {"id": "ada"}, "speed": 1.0,
                          "response_format": "pcm", "stream": True, "seed": -1, "top_k": 3})
    assert found == speech.SpeechRequest("Hi", "m", None, "ada", "pcm", True,
                                         {"top_k": 3, "seed": (1 << 32) - 1})
    assert speech.parse({"input": "Hi"}) == speech.SpeechRequest("Hi")


@pytest.mark.parametrize("body, param", [
    ({}, "input"), ({"input": ""}, "input"), ({"input": 3}, "input"),
    ({"input": "x" * (speech.MOST_TEXT + 1)}, "input"), ({"input": "Hi", "voice": 3}, "voice"),
    ({"input": "Hi", "speed": 2}, "speed"), ({"input": "Hi", "response_format": "mp3"}, "response_format"),
    ({"input": "Hi", "instructions": "whisper"}, "instructions"), ({"input": "Hi", "stream": 1}, "stream"),
    ({"input": "Hi", "voice": []}, "voice"), ({"input": "Hi", "voice": [0.5, "x"]}, "voice"),
    ({"input": "Hi", "voice": [True]}, "voice"), ({"input": "Hi", "voice": [float("nan")]}, "voice"),
    ({"input": "Hi", "voice": {"embedding": [1e400]}}, "voice"), ({"input": "Hi", "voice": [0.5] * 4097}, "voice"),
    ({"input": "Hi", "voice": {"0": 0.5, "1": 0.25}}, "voice"), ({"input": "Hi", "voice": {}}, "voice"),
    ({"input": "Hi", "voice": {"embedding": "x"}}, "voice"), ({"input": "Hi", "volume": 3}, "volume"), ({"input": "Hi", "seed": "x"}, "seed"),
    ({"input": "Hi", "top_p": 0}, "top_p")])
def test_a_wrong_request_is_refused(body, param):
    error = refused("E_BAD_REQUEST", lambda: speech.parse(body))
    assert error.facts["param"] == param
