"""safetensors headers: a u64 length, that many bytes of JSON, then the tensors' bytes.

Format: the safetensors README. Every length, shape and offset is checked before use; shards are
joined by `model.safetensors.index.json` when there is one, else by their headers.
"""

import json
import struct

from pyengine.errors import EngineError
from pyengine.formats.layout import FileTensor, brief, check_overlaps

MAX_HEADER = 100_000_000
INDEX = "model.safetensors.index.json"
ENCODINGS = {
    "F32": ("f32", 4),
    "F16": ("f16", 2),
    "BF16": ("bf16", 2),
    "U32": ("u32", 4),
    "I64": ("i64", 8),
    "I32": ("i32", 4),
    "U8": ("u8", 1),
    "I8": ("i8", 1),
    "BOOL": ("bool", 1),
}


async def read_header(source):
    """(tuple of FileTensor, metadata dict of str). Raises E_BAD_FILE, E_TRUNCATED,
    E_UNSUPPORTED_TENSOR.
    """
    (length,) = struct.unpack("<Q", await source.read(0, 8))
    if length > MAX_HEADER or length < 2:
        _bad(source, f"its header claims {length} bytes, wanted 2 to {MAX_HEADER}")
    header = parse_json(await source.read(8, length), source.name, "safetensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        _bad(source, "__metadata__ is not an object")
    base = 8 + length
    tensors = tuple(_tensor(source, name, entry, base) for name, entry in header.items())
    check_overlaps(source.name, "safetensors", tensors)
    return tensors, metadata


def choose_shards(names, index):
    """The safetensors files to read, in order, of a folder holding `names`.

    With an index: those that it names (E_NO_FILE when one is absent). Without: `model.safetensors`
    alone, or every shard.
    """
    if index is not None:
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not all(
            isinstance(v, str) for v in weight_map.values()
        ):
            raise EngineError(
                "E_BAD_FILE",
                file=INDEX,
                format="safetensors index",
                detail="weight_map is not an object of file names",
            )
        shards = sorted(set(weight_map.values()))
        for shard in shards:
            if shard not in names:
                raise EngineError(
                    "E_NO_FILE", path=shard[:200], detail=f"{INDEX} names it but it is absent"
                )
        return shards
    shards = sorted(name for name in names if name.endswith(".safetensors"))
    return ["model.safetensors"] if "model.safetensors" in shards else shards


def check_index(index, found):
    """`found` {tensor: file name} holds every tensor of the index where it says: else
    E_MISSING_TENSOR.
    """
    missing = [name for name, file in index["weight_map"].items() if found.get(name) != file]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise EngineError("E_MISSING_TENSOR", missing=", ".join(n[:80] for n in missing[:8]) + more)


def parse_json(raw, file, format_):
    """bytes -> dict. Raises E_BAD_FILE for anything but one object whose keys differ."""

    def pairs(items):
        out = dict(items)
        if len(out) != len(items):
            raise ValueError("a key appears twice")
        return out

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)
    except RecursionError:
        value, detail = None, "its JSON is nested too deeply"
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        value, detail = None, f"its JSON cannot be read: {str(error)[:120]}"
    else:
        detail = "its JSON is not an object"
    if not isinstance(value, dict):
        raise EngineError("E_BAD_FILE", file=file, format=format_, detail=detail)
    return value


def _tensor(source, name, entry, base):
    """One header entry, checked."""
    label = name[:80]
    if not isinstance(entry, dict):
        _bad(source, f"tensor {label} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ENCODINGS:
        raise EngineError(
            "E_UNSUPPORTED_TENSOR",
            tensor=label,
            detail=f"its dtype is {brief(dtype)}, wanted {', '.join(ENCODINGS)}",
        )
    encoding, itemsize = ENCODINGS[dtype]
    nbytes = _shape_bytes(source, label, shape, itemsize)
    if not _counts(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != nbytes:
        _bad(
            source,
            f"tensor {label} has data_offsets {brief(offsets)}, wanted {nbytes} bytes for "
            f"{dtype} {brief(shape)}",
        )
    start, end = base + offsets[0], base + offsets[1]
    if end > source.size:
        raise EngineError("E_TRUNCATED", file=source.name, start=start, end=end, size=source.size)
    return FileTensor(name, tuple(shape), encoding, start, nbytes)


def _shape_bytes(source, label, shape, itemsize):
    """Bytes of a checked shape, below 2^53 so that JavaScript can count them exactly."""
    if not _counts(shape) or len(shape) > 16:
        _bad(source, f"tensor {label} has the shape {brief(shape)}")
    nbytes = itemsize
    for dim in shape:
        nbytes *= dim
        if nbytes >= 1 << 53:
            _bad(source, f"tensor {label} has the shape {brief(shape)}")
    return nbytes


def _counts(value):
    """A list of whole numbers below 2^53; larger ones cannot even be printed in an error."""
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 53 for v in value)


def _bad(source, detail):
    raise EngineError("E_BAD_FILE", file=source.name, format="safetensors", detail=detail)
