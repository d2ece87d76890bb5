"""safetensors headers and folders: good ones, shards, and each fault by causing it."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from pyengine.errors import EngineError
from pyengine.formats import safetensors as reader
from pyengine.formats.checkpoint import open_checkpoint, open_path
from pyengine.formats.source import BytesSource
from pyengine.quant.blocks import dequantize
from tests.formats.safetensors_writer import LLAMA_CONFIG, file_bytes, safetensors
from tests.support import own_seconds

GOLDENS = Path(__file__).parents[1] / "goldens"
TWO = {"a": ("F32", (7,), bytes(28)), "b": ("BF16", (2, 3), bytes(range(12)))}


def header_of(data):
    return asyncio.run(reader.read_header(BytesSource("m.safetensors", data)))


def folder(**files):
    """Checkpoint of {name: bytes or object}; `__` in a name stands for a dot."""
    sources = {}
    for name, content in {"config__json": LLAMA_CONFIG, **files}.items():
        name = name.replace("__", ".")
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        sources[name] = BytesSource(name, raw)
    return asyncio.run(open_checkpoint(sources))


def code_of(call, *args, **kwargs):
    begun = own_seconds()
    with pytest.raises(EngineError) as caught:
        call(*args, **kwargs)
    assert own_seconds() - begun < 2
    assert caught.value.next_step
    return caught.value.code


def test_a_good_file():
    data = safetensors(TWO)
    (a, b), metadata = header_of(data)
    assert metadata == {"format": "pt"}
    assert (a.shape, a.encoding, a.nbytes) == ((7,), "f32", 28)
    assert data[b.offset : b.offset + b.nbytes] == bytes(range(12)) and b.encoding == "bf16"


@pytest.mark.parametrize("dtype", sorted(reader.ENCODINGS))
@pytest.mark.parametrize("shape", [(), (1,), (83,), (7, 0), (3, 5, 7)])
def test_every_dtype(dtype, shape):
    encoding, itemsize = reader.ENCODINGS[dtype]
    nbytes = int(np.prod(shape)) * itemsize
    (got,), _ = header_of(safetensors({"x": (dtype, shape, bytes(nbytes))}))
    assert (got.shape, got.encoding, got.nbytes) == (shape, encoding, nbytes)


@pytest.mark.parametrize("models", ["models-tiny", "models-real-heads"])
def test_reference_checkpoints(models, run):
    path = GOLDENS / models / "llama"
    golden = np.load(path / "golden.npz")
    got = run(open_path(path))
    assert got.format == "safetensors" and got.config["model_type"] == "llama"
    assert got.generation_config["use_cache"] is True
    ref = got.tensors["model.norm.weight"]
    raw = run(got.files[ref.file].read(ref.offset, ref.nbytes))
    norm = dequantize(raw, ref.encoding, ref.shape[0])
    assert norm.shape == golden["hidden"].shape[1:] and 0.1 < np.abs(norm).mean() < 10
    rows, width = got.tensors["model.embed_tokens.weight"].shape
    assert (rows, width) == (golden["logits_last"].size, got.config["hidden_size"])
    assert golden["greedy32"].max() < rows
    got.close()


def test_equals_the_safetensors_package(run):
    package = pytest.importorskip("safetensors.numpy", reason="the safetensors package is absent")
    path = GOLDENS / "models-tiny/llama"
    wanted = package.load_file(path / "model.safetensors")
    got = run(open_path(path))
    assert got.tensors.keys() == wanted.keys()
    for name, ref in got.tensors.items():
        raw = run(got.files[ref.file].read(ref.offset, ref.nbytes))
        assert raw == wanted[name].tobytes() and ref.shape == wanted[name].shape
    got.close()


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 0, 1])
def test_absurd_header_lengths(length):
    assert code_of(header_of, file_bytes({}, bytes(99), length)) == "E_BAD_FILE"


def test_cut_anywhere():
    whole = safetensors(TWO)
    for size in range(len(whole)):
        assert code_of(header_of, whole[:size]) == "E_TRUNCATED", size


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"null",
        b"{",
        b'{"a": }',
        b"\xff\xfe{}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"a": 1}',
        b'{"__metadata__": 3}',
        b'{"a": {}, "a": {}}',
        b'{"x": {"dtype": "U8", "shape": [1' + b"0" * 5000 + b'], "data_offsets": [0, 1]}}',
    ],
    ids=range(11),
)
def test_headers_that_are_not_headers(header):
    assert code_of(header_of, file_bytes(header, bytes(8))) == "E_BAD_FILE"


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"dtype": "F64"}, "E_UNSUPPORTED_TENSOR"),
        ({"dtype": "F8_E4M3"}, "E_UNSUPPORTED_TENSOR"),
        ({"dtype": 7}, "E_UNSUPPORTED_TENSOR"),
        ({"dtype": None}, "E_UNSUPPORTED_TENSOR"),
        ({"dtype": "F16"}, "E_BAD_FILE"),  # half of the bytes that the offsets say
        ({"shape": [8]}, "E_BAD_FILE"),
        ({"shape": [-7, -1]}, "E_BAD_FILE"),
        ({"shape": [7.0]}, "E_BAD_FILE"),
        ({"shape": [True]}, "E_BAD_FILE"),
        ({"shape": "7"}, "E_BAD_FILE"),
        ({"shape": [2**63, 2]}, "E_BAD_FILE"),
        ({"shape": [1 << 32, 1 << 32]}, "E_BAD_FILE"),
        ({"shape": [7] + [1] * 16}, "E_BAD_FILE"),
        ({"shape": [10**4000], "data_offsets": [0, 10**4000]}, "E_BAD_FILE"),
        ({"data_offsets": [10**4299, 10**4299 + 28]}, "E_BAD_FILE"),
        ({"data_offsets": [28, 0]}, "E_BAD_FILE"),
        ({"data_offsets": [-28, 0]}, "E_BAD_FILE"),
        ({"data_offsets": [0]}, "E_BAD_FILE"),
        ({"data_offsets": None}, "E_BAD_FILE"),
        ({"data_offsets": [2**63, 2**63 + 28]}, "E_BAD_FILE"),
        ({"data_offsets": [1 << 40, (1 << 40) + 28]}, "E_TRUNCATED"),
        ({"data_offsets": [12, 40]}, "E_BAD_FILE"),  # over b
    ],
)
def test_lying_entries(fields, code):
    data = safetensors(TWO, a=fields)
    assert code_of(header_of, data) == code


def test_overlaps_name_both_tensors():
    with pytest.raises(EngineError, match="a and b overlap"):
        header_of(safetensors(TWO, a={"data_offsets": [4, 32]}))


A = safetensors({"a": TWO["a"]})
B = safetensors({"b": TWO["b"]})


def index(**weight_map):
    return {"metadata": {}, "weight_map": {k: v + ".safetensors" for k, v in weight_map.items()}}


def test_shards_with_an_index():
    got = folder(
        one__safetensors=A,
        two__safetensors=B,
        stranger__safetensors=b"not read",
        model__safetensors__index__json=index(a="one", b="two"),
    )
    assert {name: got.files[ref.file].name for name, ref in got.tensors.items()} == {
        "a": "one.safetensors",
        "b": "two.safetensors",
    }


def test_shards_without_an_index():
    got = folder(two__safetensors=B, one__safetensors=A)
    assert [f.name for f in got.files] == ["one.safetensors", "two.safetensors"]
    got = folder(model__safetensors=A, extra__safetensors=B)
    assert list(got.tensors) == ["a"]


@pytest.mark.parametrize(
    "files, code",
    [
        (dict(one__safetensors=A, two__safetensors=A), "E_BAD_FILE"),  # the same tensor twice
        (dict(i=index(a="one", b="two"), one__safetensors=A), "E_NO_FILE"),
        (dict(i=index(a="one", c="one"), one__safetensors=A), "E_MISSING_TENSOR"),
        (dict(i=index(a="two"), one__safetensors=A, two__safetensors=B), "E_MISSING_TENSOR"),
        (dict(i={"weight_map": ["a"]}, one__safetensors=A), "E_BAD_FILE"),
        (dict(i={"weight_map": {"a": 7}}, one__safetensors=A), "E_BAD_FILE"),
        (dict(i=b"{", one__safetensors=A), "E_BAD_FILE"),
        (dict(config__json=b"[]", one__safetensors=A), "E_BAD_FILE"),
        (dict(config__json=b"\xff", one__safetensors=A), "E_BAD_FILE"),
        (dict(tokenizer__json=b"\xff\xfe", one__safetensors=A), "E_BAD_FILE"),
        (dict(generation_config__json=b"nul", one__safetensors=A), "E_BAD_FILE"),
    ],
)
def test_broken_folders(files, code):
    if "i" in files:
        files = {**files, "model__safetensors__index__json": files["i"]}
        del files["i"]
    assert code_of(folder, **files) == code
