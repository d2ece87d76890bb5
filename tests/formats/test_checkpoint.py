"""Checkpoints: which files make one, its texts, and paths on disk."""

import asyncio
import json
import os
import sys

import pytest

from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_checkpoint, open_path
from pyengine.formats.source import BytesSource
from tests.formats.gguf_writer import small_llama
from tests.formats.safetensors_writer import LLAMA_CONFIG, safetensors

WEIGHTS = safetensors({"a": ("F32", (7,), bytes(28))})


def write(folder, **files):
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name.replace("__", ".")).write_bytes(raw)


def open_files():
    """Number of file descriptors of this process."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list open files")
    return len(os.listdir("/proc/self/fd"))


def test_a_folder_with_its_texts(tmp_path, run):
    write(
        tmp_path,
        config__json=LLAMA_CONFIG,
        model__safetensors=WEIGHTS,
        tokenizer__json={"model": {}},
        tokenizer_config__json={"bos_token": "<s>", "chat_template": "old"},
        chat_template__jinja=b"new",
        generation_config__json={"eos_token_id": [2, 7]},
        notes__txt=b"ignored",
    )
    got = run(open_path(tmp_path))
    assert got.config == LLAMA_CONFIG and list(got.tensors) == ["a"]
    assert json.loads(got.tokenizer_json) == {"model": {}}
    assert got.tokenizer_config["bos_token"] == "<s>" and got.chat_template == "new"
    assert got.generation_config == {"eos_token_id": [2, 7]}
    got.close()


@pytest.mark.parametrize(
    "template, wanted",
    [
        ("x", "x"),
        ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], "d"),
        ([{"name": "tool", "template": "t"}], None),
        ([7, {"name": []}], None),
        (None, None),
    ],
)
def test_templates_of_tokenizer_config(template, wanted, tmp_path, run):
    write(
        tmp_path,
        config__json=LLAMA_CONFIG,
        model__safetensors=WEIGHTS,
        tokenizer_config__json={"chat_template": template},
    )
    got = run(open_path(tmp_path))
    got.close()
    assert got.chat_template == wanted


def test_a_gguf_by_file_and_by_folder(tmp_path, run):
    (tmp_path / "small.gguf").write_bytes(small_llama().build())
    for path in (tmp_path / "small.gguf", tmp_path):
        got = run(open_path(path))
        got.close()
        assert got.format == "gguf" and len(got.tensors) == 11


def test_only_the_headers_files_stay_open(tmp_path, run):
    write(tmp_path, config__json=LLAMA_CONFIG, model__safetensors=WEIGHTS)
    before = open_files()
    got = run(open_path(tmp_path))
    assert open_files() == before + 1
    got.close()
    assert open_files() == before


def test_a_failure_closes_every_file(tmp_path, run):
    write(tmp_path, config__json=b"[]", model__safetensors=WEIGHTS)
    before = open_files()
    with pytest.raises(EngineError):
        run(open_path(tmp_path))
    assert open_files() == before


@pytest.mark.parametrize("name", ["absent.gguf", "absent", "text.txt", "empty", "two"])
def test_paths_that_are_no_model(name, tmp_path, run):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for letter in "ab":
        (tmp_path / "two" / f"{letter}.gguf").write_bytes(small_llama().build())
    with pytest.raises(EngineError) as caught:
        run(open_path(tmp_path / name))
    assert caught.value.code == "E_NO_FILE"


def test_a_folder_without_config():
    files = {"model.safetensors": BytesSource("model.safetensors", WEIGHTS)}
    with pytest.raises(EngineError) as caught:
        asyncio.run(open_checkpoint(files))
    assert caught.value.code == "E_NO_FILE" and "config.json" in caught.value.message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs file permissions")
def test_a_file_that_may_not_be_read(tmp_path, run):
    path = tmp_path / "secret.gguf"
    path.write_bytes(b"GGUF")
    path.chmod(0)
    with pytest.raises(EngineError) as caught:
        run(open_path(path))
    assert caught.value.code == "E_NO_FILE"
