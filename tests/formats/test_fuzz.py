"""Both readers on random and mutated files: a Checkpoint or an EngineError, soon."""

import asyncio
import json
import struct
import tracemalloc

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from pyengine.errors import EngineError
from pyengine.formats.checkpoint import Checkpoint, open_checkpoint
from pyengine.formats.source import BytesSource
from tests.formats.gguf_writer import small_llama
from tests.formats.safetensors_writer import LLAMA_CONFIG, file_bytes, safetensors, tensor_entries
from tests.support import own_seconds

GGUF = small_llama().build()
TENSORS = {"a": ("F32", (7,), bytes(28)), "b": ("BF16", (2, 3), bytes(12))}
SAFETENSORS = safetensors(TENSORS)
WORDS = [0, 1, 7, 0x7F, 0xFF, 2**31, 2**32 - 1, 2**40, 2**53, 2**62, 2**63, 2**64 - 1]
MEMORY = 32 << 20
quick = settings(max_examples=300, deadline=None, database=None, derandomize=False)


def outcome(name, data):
    """Opens one file (safetensors: with a config); returns the Checkpoint or the EngineError."""
    files = {name: BytesSource(name, data)}
    if name.endswith(".safetensors"):
        files["config.json"] = BytesSource("config.json", json.dumps(LLAMA_CONFIG).encode())
    tracemalloc.start()
    begun = own_seconds()
    try:
        got = asyncio.run(open_checkpoint(files))
        assert isinstance(got, Checkpoint)
        for ref in got.tensors.values():
            assert 0 <= ref.offset and ref.offset + ref.nbytes <= len(data)
    except EngineError as error:
        assert error.message and error.next_step
        json.dumps(error.to_dict())
        got = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert own_seconds() - begun < 5 and peak < MEMORY
    return got


@st.composite
def mutated(draw, whole, head):
    """`whole` with a few of its first `head` bytes changed, dropped or doubled, or the end cut."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(head, max(len(data) - 1, 0))))
        action = draw(st.sampled_from(["byte", "u32", "u64", "drop", "repeat", "cut"]))
        if action == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif action in ("u32", "u64"):
            size, code = (4, "<I") if action == "u32" else (8, "<Q")
            word = draw(st.sampled_from(WORDS)) % (1 << 8 * size)
            data[at : at + size] = struct.pack(code, word)
        elif action == "drop":
            del data[at : at + draw(st.integers(1, 16))]
        elif action == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        else:
            del data[at:]
    return bytes(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["F32", "BF16", "I64"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "U8", "BF16"]) | JSON},
    optional={
        "shape": st.lists(st.sampled_from(WORDS) | st.integers(-2, 99), max_size=4) | JSON,
        "data_offsets": st.lists(st.sampled_from(WORDS) | st.integers(-2, 60), max_size=3) | JSON,
    },
)


@seed(1)
@quick
@given(st.binary(max_size=400))
def test_random_bytes_are_no_model(data):
    assert isinstance(outcome("m.gguf", data), EngineError)
    assert isinstance(outcome("m.gguf", b"GGUF\x03\0\0\0" + data), EngineError)
    outcome("m.safetensors", data)
    outcome("m.safetensors", struct.pack("<Q", len(data)) + data)


@seed(2)
@quick
@given(mutated(GGUF, 1700))
def test_mutated_gguf(data):
    outcome("m.gguf", data)


@seed(3)
@quick
@given(mutated(SAFETENSORS, len(SAFETENSORS)))
def test_mutated_safetensors(data):
    outcome("m.safetensors", data)


@seed(4)
@quick
@given(FIELDS | JSON, JSON)
def test_lying_safetensors_headers(entry, metadata):
    entries, data = tensor_entries(TENSORS)
    header = json.dumps({**entries, "b": entry, "__metadata__": metadata}).encode()
    outcome("m.safetensors", file_bytes(header, data))


def test_the_unchanged_files_open():
    assert isinstance(outcome("m.gguf", GGUF), Checkpoint)
    assert isinstance(outcome("m.safetensors", SAFETENSORS), Checkpoint)
