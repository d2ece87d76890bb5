"""A local GGUF is judged before it is copied: the page's check says of every file what the engine's
reader says of it later."""
import asyncio
import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pyengine.errors import EngineError
from pyengine.formats.gguf import ENCODINGS, read_header
from pyengine.formats.source import BytesSource
from pyengine.quant.blocks import BLOCKS
from tests.formats.gguf_writer import GgufWriter, small_llama, text
from tests.formats.test_mutations import mutated

HERE = Path(__file__).resolve().parent
STORAGE = HERE.parents[1] / "pwa_shell/js/storage"


def verdicts(folder, files):
    """{name: what the page says} of {name: bytes}."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [node, str(HERE / "gguf_verdicts.mjs"), str(STORAGE), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def engine_says(data):
    try:
        header = asyncio.run(read_header(BytesSource("m.gguf", data)))
    except EngineError as error:
        return error.code
    return "ok" if header.tensors else "E_BAD_FILE"  # which would miss every tensor then


def writer(*tensors, **options):
    made = GgufWriter(**options)
    for row in tensors:
        made.tensor(*row)
    return made.build()


def cases():
    whole = small_llama().build()
    one, other = ("a", (7,), "f32", bytes(28)), ("b", (83,), "f32", bytes(332))
    found = {f"cut{at}": whole[:at] for at in (0, 3, 7, 23, 24, 83, 769, len(whole) - 1)}
    for number, encoding in ENCODINGS.items():  # each type's own size, and a byte less
        block = BLOCKS[encoding]
        data = writer(("w", (3, block.elements), number, bytes(3 * block.nbytes)))
        found |= {f"whole-{encoding}": data, f"short-{encoding}": data[:-1]}
    found |= {
        "whole": whole, "longer": whole + bytes(100), "aligned": small_llama(alignment=4096).build(),
        "v2": small_llama(version=2).build(), "v4": small_llama(version=4).build(),
        "none": writer(), "twice": writer(one, one), "two": writer(one, other),
        "over": writer(one, (*other, 0)), "beyond": writer(one, (*other, 1 << 40)),
        "odd": writer(one, (*other, 33)), "huge": writer(one, (*other, 1 << 63)),
        "type": writer(("w", (256,), 10, bytes(84))), "rows": writer(("w", (7,), "q4_0", bytes(18))),
        "empty": writer(("w", (0,), "f32", b"")), "endless": writer(
            ("w", (7,), "f32", bytes(28), None, [1 << 40, 1 << 40])),
        "alignment": small_llama(replace={"general.alignment": ("u32", 48)}).build(),
        "not-a-number": small_llama(replace={"general.alignment": ("str", "32")}).build(),
        "long-alignment": small_llama(replace={"general.alignment": ("u64", 32)}).build(),
        "words": small_llama(replace={"x": (("array", "str"), ["w" * n for n in range(2000)])}).build(),
    }
    for name, raw in {"key": text(b"\xff\xfe") + struct.pack("<IB", 0, 1),
                      "text": text("k") + struct.pack("<I", 8) + text(b"\xed\xa0\x80"),
                      "kind": text("k") + struct.pack("<I", 13),
                      "items": text("k") + struct.pack("<IIQ", 9, 9, 1),
                      "count": text("k") + struct.pack("<IIQ", 9, 4, 1 << 60),
                      "length": text("k") + struct.pack("<IQ", 8, 1 << 50)}.items():
        made = small_llama()
        made.raw_pair(raw)
        found[f"pair-{name}"] = made.build()
    return found


def test_the_page_says_what_the_engine_would(tmp_path):
    files = cases()
    rng = random.Random(83)
    whole = small_llama().build()
    files |= {f"mutation{n}": mutated(whole, rng) for n in range(400)}
    wanted = {name: engine_says(data) for name, data in files.items()}
    assert verdicts(tmp_path, files) == wanted
    assert set(wanted.values()) == {"ok", "E_BAD_FILE", "E_TRUNCATED", "E_UNSUPPORTED_TENSOR"}
    assert {wanted[f"{cut}-{encoding}"] for cut in ("whole",) for encoding in ENCODINGS.values()} == {"ok"}
    assert {wanted[f"short-{encoding}"] for encoding in ENCODINGS.values()} == {"E_TRUNCATED"}
