import asyncio
import gzip
import io
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app import cli
from app.build import settings
from pyengine.text.tokenizer import open_tokenizer
from tests.app.fakes import WORDS, FakeEngine, fake_session
from tests.support import WAIT_S

TINY = "models-tiny/llama"


def run(capsys, *argv):
    status = cli.main(list(argv))
    out, err = capsys.readouterr()
    return status, out, err


def run_json(capsys, *argv):
    status, out, _ = run(capsys, *argv, "--json")
    return status, json.loads(out)


@pytest.fixture
def tiny(goldens):
    path = goldens / TINY
    if not path.exists():
        pytest.skip("tests/goldens/models-tiny/llama is absent")
    return path


@pytest.fixture
def faked(monkeypatch):
    """The CLI with a fake model; -> its engine."""
    engine = FakeEngine()

    async def open_session(args):
        return fake_session(engine)

    monkeypatch.setattr(cli, "open_session", open_session)
    return engine


def test_generate_on_a_real_tiny_model_is_its_golden(capsys, tiny):
    golden = np.load(tiny / "golden.npz")
    ids = ",".join(str(i) for i in golden["ids"].ravel())
    status, answer = run_json(
        capsys,
        "generate",
        "--model",
        str(tiny),
        "--ids",
        ids,
        "--max-tokens",
        "4",
        "--device",
        "numpy",
        "--quant",
        "keep",
        "--kv",
        "f32",
        "--logits",
        "--ignore-eos",
    )
    assert status == 0 and set(answer) == {
        "tokens",
        "text",
        "finish_reason",
        "stats",
        "first_logits",
    }
    assert answer["tokens"] == golden["greedy32"][:4].tolist()
    assert answer["text"] is None and answer["finish_reason"] == "length"
    assert answer["stats"]["device"]["backend"] == "numpy"
    np.testing.assert_allclose(answer["first_logits"], golden["logits_last"], atol=1e-4)


def test_inspect_needs_no_weights(capsys, tiny, tmp_path):
    config = tmp_path / "config.json"
    config.write_text((tiny / "config.json").read_text())
    status, report = run_json(
        capsys, "inspect", "--config", str(config), "--quant", "affine4-g64", "--context", "83"
    )
    parts = dict(report["bytes"])
    assert status == 0 and parts.pop("total") == sum(parts.values())
    assert {"weights", "kv", "state", "activations", "staging"} == set(parts)
    assert (
        report["dispatches_per_token"] > 0
        and report["passes_per_token"] == 1
        and report["plan_text"]
    )


def test_inspect_takes_caps_from_a_file(capsys, tiny, tmp_path):
    caps = tmp_path / "caps.json"
    argv = ["inspect", "--model", str(tiny), "--context", "16", "--caps", str(caps)]
    caps.write_text('{"f16": true}')
    assert run_json(capsys, *argv)[0] == 0
    for text, param in (('{"f16": 1}', "caps.f16"), ('{"wings": 2}', "caps.wings")):
        caps.write_text(text)
        status, answer = run_json(capsys, *argv)
        assert status == 2 and answer["error"]["facts"]["param"] == param
    caps.write_text("[]")
    assert run_json(capsys, *argv)[1]["error"]["code"] == "E_BAD_FILE"


def test_generate_prints_text_as_it_comes(capsys, faked):
    status, out, err = run(capsys, "generate", "--model", "x", "--prompt", "hi", "--stop", "END")
    assert status == 0 and out == " ".join(WORDS) + " \n" and "7 tokens" in err
    assert faked.calls[0].stop == ["END"] and faked.calls[0].stop_ids == [2] and faked.closed == 1
    assert faked.calls[0].params.temperature == 0  # greedy unless asked otherwise


def test_flags_reach_the_engine(capsys, faked):
    status, answer = run_json(
        capsys,
        "generate",
        "--model",
        "x",
        "--chat",
        "hi",
        "--max-tokens",
        "3",
        "--temperature",
        "0.5",
        "--seed",
        "-1",
        "--top-k",
        "7",
        "--top-p",
        "0.9",
        "--min-p",
        "0.1",
        "--repetition-penalty",
        "1.1",
        "--ignore-eos",
        "--logits",
    )
    (call,) = faked.calls
    assert status == 0 and answer["first_logits"] == [0.5, float(len(call.ids))]
    assert call.max_tokens == 3 and call.stop_ids == ()
    p = call.params
    assert (p.temperature, p.seed, p.top_k, p.top_p, p.min_p, p.repetition_penalty) == (
        0.5,
        2**32 - 1,
        7,
        0.9,
        0.1,
        1.1,
    )
    assert bytes(call.ids) == b"<user>hi<assistant>"


def test_chat_keeps_the_conversation(capsys, faked, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n\nnever\n"))
    status, out, _ = run(capsys, "chat", "--model", "x", "--max-tokens", "1", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [a["text"] for a in answers] == ["one ", "one "]
    assert bytes(faked.calls[1].ids) == b"<user>one<assistant>one <user>two<assistant>"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["generate", "--model", "no/such.gguf", "--prompt", "x"], "E_NO_FILE"),
        (["generate", "--model", "x", "--prompt", ""], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--ids", "1,b"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "x", "--max-tokens", "0"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "x", "--temperature", "-1"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "a\udc80"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "x", "--burst", "0"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "x", "--burst", "fast"], "E_BAD_REQUEST"),
        (["generate", "--model", "x", "--prompt", "x", "--context", "0"], "E_BAD_REQUEST"),
        (["generate", "--model", "x"], "E_BAD_REQUEST"),
        (["generate", "--prompt", "x"], "E_BAD_REQUEST"),
        (["inspect", "--config", "no/such.json"], "E_NO_FILE"),
        (["inspect"], "E_BAD_REQUEST"),
        ([], "E_BAD_REQUEST"),
        (["tokenize", "--model", "no/such.gguf", "--text", "x"], "E_NO_FILE"),
    ],
)
def test_errors_are_one_json_object_or_two_lines(capsys, argv, code):
    status, answer = run_json(capsys, *argv)
    assert status == 2 and answer["error"]["code"] == code and answer["error"]["next_step"]
    status, out, err = run(capsys, *argv)
    assert status == 2 and out == "" and len(err.strip().splitlines()) == 2 and err.startswith(code)


def test_a_folder_without_a_model_is_named(capsys, tmp_path):
    status, answer = run_json(capsys, "inspect", "--model", str(tmp_path))
    assert status == 2 and answer["error"]["facts"]["path"] == str(tmp_path)


def test_no_adapter_names_the_numpy_device(capsys, tiny, monkeypatch):
    from pyengine.device.native import NativeDevice
    from pyengine.errors import EngineError

    async def create():
        raise EngineError("E_NO_WEBGPU", reason="none here")

    monkeypatch.setattr(NativeDevice, "create", create)
    status, answer = run_json(capsys, "generate", "--model", str(tiny), "--ids", "1")
    assert status == 2 and answer["error"]["code"] == "E_NO_ADAPTER"
    assert "--device numpy" in answer["error"]["next_step"]


def test_a_model_without_a_tokenizer_says_so(capsys, tiny):
    for argv in (
        ["tokenize", "--model", str(tiny), "--text", "x"],
        ["generate", "--model", str(tiny), "--prompt", "x", "--device", "numpy"],
    ):
        status, answer = run_json(capsys, *argv)
        assert status == 2 and answer["error"]["code"] == "E_NO_TOKENIZER"


def test_a_missing_package_is_named_with_what_installs_it(capsys, monkeypatch):
    golden = Path(__file__).resolve().parents[1] / "goldens" / "text"
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    text = gzip.decompress((golden / "bytelevel_bpe_qwen.tokenizer.json.gz").read_bytes()).decode()
    with pytest.raises(ModuleNotFoundError):
        open_tokenizer(text)
    monkeypatch.setitem(cli.COMMANDS, "tokenize", lambda args: open_tokenizer(text))
    status, answer = run_json(capsys, "tokenize", "--model", "x", "--text", "x")
    assert status == 2 and answer["error"]["code"] == "E_NO_PACKAGE"
    assert answer["error"]["facts"] == {"package": "tokenizers"}
    assert "test.lock" in answer["error"]["next_step"]


def test_the_engine_is_closed_after_a_failure(capsys, faked):
    faked.fail_at, faked.error = 1, ValueError("boom")
    assert cli.main(["generate", "--model", "x", "--prompt", "hi", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["facts"]["detail"] == "ValueError: boom" and "Traceback" in err
    assert faked.closed == 1


def test_first_logits_are_little_endian_f32():
    assert asyncio.run(FakeEngine().first_logits([1, 2])) == struct.pack("<2f", 0.5, 2.0)


def _cli(*args, stdin=subprocess.PIPE):
    return subprocess.Popen([sys.executable, "-m", "app.cli", *args], cwd=settings.ROOT,
                            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_control_c_ends_a_wait_for_a_line(goldens):
    person, terminal = os.openpty()  # which is asked for a line, so that the wait is seen
    command = _cli("chat", "--model", str(goldens / "models-tiny/llama"), "--device", "numpy",
                   stdin=terminal)
    told = b""
    while not told.endswith(b"> ") and (more := command.stderr.read(1)):
        told += more
    command.send_signal(signal.SIGINT)
    assert command.wait(WAIT_S) == 130
    assert told.endswith(b"> ") and b"Traceback" not in told + command.communicate()[1]
    os.close(person)
    os.close(terminal)


def test_an_answer_that_nobody_reads_is_no_failure(goldens):
    command = _cli("inspect", "--model", str(goldens / "models-tiny/llama"))
    command.stdout.close()
    assert command.wait(WAIT_S) == 141
    assert b"Traceback" not in command.stderr.read()
