"""Byte sources: one contract for all, and ranges outside the file."""

import pytest

from pyengine.errors import EngineError
from pyengine.formats.source import BytesSource, FileSource

DATA = bytes(range(256)) * 3 + b"x"


@pytest.fixture(params=["bytes", "file"])
def source(request, tmp_path):
    (tmp_path / "f.bin").write_bytes(DATA)
    made = {
        "bytes": lambda: BytesSource("f.bin", DATA),
        "file": lambda: FileSource(tmp_path / "f.bin"),
    }[request.param]()
    yield made
    getattr(made, "close", lambda: None)()


@pytest.mark.parametrize("offset, length", [(0, 0), (0, 769), (7, 83), (768, 1), (769, 0)])
def test_ranges(source, offset, length, run):
    assert (source.name, source.size) == ("f.bin", 769)
    got = run(source.read(offset, length))
    assert type(got) is bytes and got == DATA[offset : offset + length]


@pytest.mark.parametrize("offset, length", [(0, 770), (769, 1), (-1, 1), (1, -1), (1 << 63, 1)])
def test_outside_ranges(source, offset, length, run):
    with pytest.raises(EngineError) as caught:
        run(source.read(offset, length))
    assert caught.value.code == "E_TRUNCATED"
    assert caught.value.facts["size"] == 769


def test_a_file_that_shrinks_is_truncated(tmp_path, run):
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    source = FileSource(path)
    path.write_bytes(DATA[:100])
    with pytest.raises(EngineError) as caught:
        run(source.read(50, 100))
    source.close()
    assert caught.value.code == "E_TRUNCATED" and caught.value.facts["size"] == 100
