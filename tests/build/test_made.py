"""Models made of a wheel's files: the parts of it that need no download, then the folder itself."""
import json
import struct

import pytest

from app.build import made, moonshine, settings, site
from app.build.console import BuildError
from app.build.fetch import Cache


def test_lengths_of_pieces():
    data = b"\x03abc" + b"\x00" + bytes([128 + 5, 1]) + b"x" * 133
    assert [len(p) for p in moonshine.pieces_of(data)] == [3, 0, 133]


def test_merges_come_by_what_they_make():
    names = [""] * moonshine.PIECES + ["ab", "abc", "bc"] + ["a", "b", "c"]
    vocab = {name: i for i, name in enumerate(names) if name}
    assert moonshine.merges_of(names, vocab) == [["a", "b"], ["ab", "c"], ["a", "bc"], ["b", "c"]]


def test_codes_become_rows():
    found = {"w_quantized": ((2, 3), moonshine.UINT8, bytes([0, 1, 2, 3, 4, 255])),
             "w_scale": ((), moonshine.FLOAT, struct.pack("<f", 0.1)),
             "w_zero_point": ((), moonshine.UINT8, b"\x02")}
    shape, data = moonshine.transposed(*moonshine.dequantised(found, "w_quantized"))
    tenth = struct.unpack("<f", struct.pack("<f", 0.1))[0]
    want = [tenth * n for n in (-2, 1, -1, 2, 0, 253)]
    assert shape == (3, 2) and struct.unpack("<6f", data) == pytest.approx(want, abs=1e-6)


def test_two_different_tensors_of_one_name_are_refused():
    weights = moonshine.Weights()
    weights.put("a", ((1,), b"1234"))
    weights.put("a", ((1,), b"1234"))
    with pytest.raises(ValueError):
        weights.put("a", ((1,), b"1235"))


def test_an_unknown_model_is_refused():
    with pytest.raises(BuildError, match="moonshine-tiny"):
        made.find("whisper")


def test_the_site_ships_what_was_fetched(tmp_path):
    """In a list of its own: it cannot chat."""
    model = settings.MADE_MODELS[0]
    folder = tmp_path / "made"
    folder.mkdir()
    for name in model.files:
        (folder / name).write_bytes(b"12345")
    shipped = settings.MODELS[0]
    (tmp_path / shipped.file).write_bytes(b"1")
    site.write_models(tmp_path / "models", {shipped.id: tmp_path / shipped.file}, {model: folder})
    index = json.loads((tmp_path / "models/index.json").read_text())
    assert [row["id"] for row in index["models"]] == [shipped.id]
    row, = index["audio"]
    assert row["id"] == model.id and row["bytes"] == 25 and len(row["files"]) == 5
    assert (tmp_path / "models" / model.id / "config.json").read_bytes() == b"12345"


def test_the_fetched_folder_is_as_pinned():
    cache = Cache()
    model = settings.MADE_MODELS[0]
    if model not in made.made(cache):
        pytest.skip("python3 build.py fetch moonshine-tiny makes it")
    path = made.folder(cache, model)
    assert made.is_whole(path, model)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    assert len(tokenizer["model"]["vocab"]) == 32768 and len(tokenizer["model"]["merges"]) == 61249
