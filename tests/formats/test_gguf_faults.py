"""GGUF files that are cut, that lie, or that are something else: a coded error each, at once."""

import asyncio
import struct
import tracemalloc

import pytest
from tests.formats.gguf_writer import GGML, GgufWriter, small_llama, text
from tests.support import own_seconds

from pyengine.errors import EngineError
from pyengine.formats import gguf
from pyengine.formats.source import BytesSource

U64 = 1 << 63


def failure(data):
    """The EngineError of reading `data`, which must come quickly and without large memory."""
    tracemalloc.start()
    begun = own_seconds()
    try:
        asyncio.run(gguf.read_header(BytesSource("m.gguf", data)))
    except EngineError as error:
        assert own_seconds() - begun < 2
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + (4 << 20)
        return error
    finally:
        tracemalloc.stop()
    raise AssertionError("the file was accepted")


def test_cut_anywhere():
    whole = small_llama().build()
    for size in [0, 1, 3, 4, 7, 8, 23, 24, 25, *range(30, len(whole), 97), len(whole) - 1]:
        error = failure(whole[:size])
        assert error.code in ("E_TRUNCATED", "E_BAD_FILE"), size


def test_a_file_cut_in_its_weights_says_what_is_missing():
    whole = small_llama().build()
    error = failure(whole[:-100])
    assert error.code == "E_TRUNCATED"
    assert error.facts["size"] == len(whole) - 100 and error.facts["end"] == len(whole)


@pytest.mark.parametrize("magic", [b"GGML", b"PK\x03\x04", b"\0\0\0\0", b"FUGG"])
def test_wrong_magic(magic):
    writer = small_llama()
    writer.magic = magic
    assert "wanted b'GGUF'" in failure(writer.build()).message


@pytest.mark.parametrize("version", [0, 1, 4, 3 << 24, 0xFFFFFFFF])
def test_wrong_version(version):
    error = failure(small_llama(version=version).build())
    assert error.code == "E_BAD_FILE" and "wanted 2 or 3" in error.message
    assert ("big endian" in error.message) == (version == 3 << 24)


@pytest.mark.parametrize("counts", [(U64, None), (None, U64), (1 << 40, 1 << 40), (2**64 - 1, 0)])
def test_huge_counts(counts):
    writer = small_llama()
    writer.counts = counts
    assert failure(writer.build()).code == "E_BAD_FILE"


@pytest.mark.parametrize("length", [U64, 2**64 - 1, 1 << 40, 1 << 29])
@pytest.mark.parametrize("place", ["key", "value", "item", "strings", "numbers", "tensor"])
def test_absurd_lengths(length, place):
    lie, writer = struct.pack("<Q", length), GgufWriter()
    if place == "key":
        writer.raw_pair(lie + b"k" * 20)
    elif place == "value":
        writer.raw_pair(text("k") + struct.pack("<I", 8) + lie)
    elif place == "item":
        writer.raw_pair(text("k") + struct.pack("<IIQ", 9, 8, 1) + lie)
    elif place == "strings":
        writer.raw_pair(text("k") + struct.pack("<II", 9, 8) + lie)
    elif place == "numbers":
        writer.raw_pair(text("k") + struct.pack("<II", 9, 10) + lie)
    else:
        writer.raw_pair(lie + bytes(40))
        writer.pairs, entry = [], writer.pairs[0]
        writer.counts = (1, 0)
        assert failure(writer.build() + entry).code == "E_BAD_FILE"
        return
    assert failure(writer.build() + bytes(99)).code == "E_BAD_FILE"


def test_lengths_just_past_the_end():
    writer = GgufWriter()
    writer.raw_pair(text("k") + struct.pack("<IQ", 8, 10_000))
    assert failure(writer.build()).code == "E_TRUNCATED"


@pytest.mark.parametrize("kind", [13, 99, 2**32 - 1])
def test_unknown_value_types(kind):
    writer = GgufWriter()
    writer.raw_pair(text("k") + struct.pack("<IQ", kind, 0))
    assert f"value type {kind}" in failure(writer.build()).message


def test_nested_arrays_are_refused():
    writer = GgufWriter()
    writer.raw_pair(text("k") + struct.pack("<IIQ", 9, 9, 1) * 5000)
    assert failure(writer.build()).code == "E_BAD_FILE"


@pytest.mark.parametrize("where", ["key", "value", "item"])
def test_strings_that_are_not_utf8(where):
    writer, bad = GgufWriter(), text(b"\xff\xfe")
    tail = {
        "key": bad + struct.pack("<IB", 0, 1),
        "value": text("k") + struct.pack("<I", 8) + bad,
        "item": text("k") + struct.pack("<IIQ", 9, 8, 1) + bad,
    }
    writer.raw_pair(tail[where])
    assert "UTF-8" in failure(writer.build()).message


def test_repeated_keys_and_tensors():
    writer = small_llama()
    writer.pair("llama.block_count", "u32", 2)
    assert "twice" in failure(writer.build()).message
    writer = small_llama()
    writer.tensor("output_norm.weight", (64,), "f32", bytes(256))
    assert "twice" in failure(writer.build()).message


def one_tensor(shape=(64,), encoding="f32", data=bytes(256), **lies):
    writer = GgufWriter()
    writer.tensor("first", (64,), "f32", bytes(256))
    writer.tensor("second", shape, encoding, data, **lies)
    return writer.build()


@pytest.mark.parametrize(
    "offset, code",
    [
        (0, "E_BAD_FILE"),  # over the first
        (224, "E_BAD_FILE"),  # over its end
        (257, "E_BAD_FILE"),  # not aligned
        (288, "E_TRUNCATED"),
        (1 << 40, "E_TRUNCATED"),
        (U64, "E_BAD_FILE"),
        (2**64 - 32, "E_BAD_FILE"),
    ],
)
def test_lying_offsets(offset, code):
    error = failure(one_tensor(offset=offset))
    assert error.code == code
    if offset in (0, 224):
        assert "overlap" in error.message and "first" in error.message


@pytest.mark.parametrize(
    "dims, code",
    [
        ([], "E_BAD_FILE"),
        ([1] * 5, "E_BAD_FILE"),
        ([0], "E_BAD_FILE"),
        ([64, 0], "E_BAD_FILE"),
        ([U64], "E_BAD_FILE"),
        ([1 << 32, 1 << 32], "E_BAD_FILE"),  # 2^64 wraps to 0
        ([1 << 62, 4, 1, 1], "E_BAD_FILE"),
        ([65], "E_TRUNCATED"),
        ([1 << 40], "E_TRUNCATED"),
    ],
)
def test_lying_shapes(dims, code):
    assert failure(one_tensor(dims=dims)).code == code


@pytest.mark.parametrize("encoding", ["q4_0", "q4_k"])
def test_rows_that_do_not_fill_their_blocks(encoding):
    error = failure(one_tensor(shape=(2, 48), encoding=encoding))
    assert error.code == "E_BAD_FILE" and "second" in error.message


@pytest.mark.parametrize("kind, name", [(9, "Q8_1"), (10, "Q2_K"), (39, "MXFP4"), (999, "unknown")])
def test_unsupported_tensor_types_are_named(kind, name):
    error = failure(one_tensor(encoding=kind))
    assert error.code == "E_UNSUPPORTED_TENSOR"
    assert "second" in error.message and f"{kind} ({name})" in error.message


@pytest.mark.parametrize("encoding", sorted(GGML))
def test_a_tensor_longer_than_the_file_is_truncated(encoding):
    assert failure(one_tensor(shape=(7, 256), encoding=encoding)).code == "E_TRUNCATED"


def test_a_header_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(gguf, "FIRST_WINDOW", 64)
    monkeypatch.setattr(gguf, "MAX_HEADER", 1024)
    writer = GgufWriter()
    writer.pair("k", "str", "x" * 5000)
    assert "longer than 1024" in failure(writer.build()).message
