"""Seeded mutations of each file that a model brings: a coded error or a value, within 2 s and within
twice the file's size (or 2 MB, what Python itself takes for small files). `--long`: 1,000 of each."""
import asyncio
import json
import random
import tracemalloc
from pathlib import Path

import pytest

from app import catalog
from pyengine import models
from pyengine.errors import EngineError
from pyengine.formats import hf_config
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from pyengine.text.chat_template import ChatTemplate
from tests.formats.gguf_writer import small_llama
from tests.formats.safetensors_writer import safetensors
from tests.support import own_seconds

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
SMALLEST = 2 << 20
SECONDS = 2
CONFIG = (GOLDENS / "models-tiny/llama/config.json").read_bytes()
TEMPLATE = (b"{% for m in messages %}<|{{ m['role'] }}|>{{ m.content | trim }}{{ '\\n' * 2 }}"
            b"{% if loop.last and add_generation_prompt %}<|assistant|>{% endif %}{% endfor %}")
INDEX = json.dumps({"models": [{"id": "a", "name": "A", "license": "MIT", "bytes": 7, "files": [
    {"name": "model.gguf", "bytes": 7, "sha256": "0" * 64}]}]}).encode()
TENSORS = {"a": ("F32", (7,), bytes(28)), "b": ("BF16", (2, 3), bytes(12))}
MESSAGES = [{"role": "user", "content": "hi"}]
WORDS = [b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"9" * 20, b"[" * 40, b"{{", b"%}", b"1e999",
         b'"', b"null", b"-1", b"\xed\xa0\x80"]


def opened(name, data):
    files = {name: BytesSource(name, data)}
    if name != "m.gguf":
        files.setdefault("config.json", BytesSource("config.json", CONFIG))
        files.setdefault("m.safetensors", BytesSource("m.safetensors", safetensors(TENSORS)))
    return asyncio.run(open_checkpoint(files))


def configured(data):
    config = hf_config.text_config(opened("config.json", data).config)
    models.find(config.get("model_type")).Config.from_hf(config)


def templated(data):
    ChatTemplate(data.decode("utf-8", "replace"), {}).render(MESSAGES, add_generation_prompt=True)


# file: (the right bytes, what reads them)
FORMATS = {
    "safetensors": (safetensors(TENSORS), lambda data: opened("m.safetensors", data)),
    "gguf": (small_llama().build(), lambda data: opened("m.gguf", data)),
    "config": (CONFIG, configured),
    "template": (TEMPLATE, templated),
    "index": (INDEX, lambda data: catalog.parse_index(json.loads(data))),
}


def mutated(whole, rng):
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at, action = rng.randrange(len(data) + 1), rng.randrange(5)
        if action == 0:
            data[at:at + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            word = rng.choice(WORDS)
            data[at:at + len(word)] = word
        elif action == 2:
            del data[at:at + rng.randint(1, 16)]
        elif action == 3:
            data[at:at] = data[at:at + rng.randint(1, 64)]
        else:
            del data[at:]
    return bytes(data)


def refusal(read, data, also):
    """(Whether it is refused, with an EngineError or an error of `also`; the most bytes that Python
    had allocated meanwhile)."""
    tracemalloc.start()
    refused = True
    try:
        read(data)
        refused = False
    except EngineError as error:
        assert error.message and error.next_step
    except also:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return refused, peak


def judged(name, count, whole, read, also=()):
    """`read`s mutations of `whole`, of which some are refused, with an EngineError or an error of
    `also`; -s shows a row of the table of docs/reliability.md."""
    rng, refused, slowest, most = random.Random(f"{name} {count}"), 0, 0, 0
    for number in range(count):
        data, began = mutated(whole, rng), own_seconds()
        try:
            refuses, peak = refusal(read, data, also)
            if peak >= max(SMALLEST, 2 * len(data)):
                # a table of the interpreter's own grows once, by megabytes; a file does it again
                refuses, peak = refusal(read, data, also)
        except BaseException as error:
            raise AssertionError((number, data)) from error
        took = own_seconds() - began
        assert took < SECONDS, (number, data)
        assert peak < max(SMALLEST, 2 * len(data)), (number, peak, data)
        refused, slowest, most = refused + refuses, max(slowest, took), max(most, peak)
    print(f"\n| {name} | {count} | {count - refused} | {refused} | {slowest:.2f} | {most / 1e6:.2f} |")
    assert refused > count // 10


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_file_is_read_or_refused(name, count):
    whole, read = FORMATS[name]
    read(whole)
    # the index is the build's own file: JSON or nothing
    judged(name, count, whole, read, ValueError if name == "index" else ())
