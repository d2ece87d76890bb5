"""A small safetensors writer for tests: honest by default, and able to lie about every field."""

import json
import struct

LLAMA_CONFIG = {"model_type": "llama", "hidden_size": 64}


def tensor_entries(tensors):
    """({name: header entry}, data) of {name: (dtype, shape, bytes)}."""
    entries, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += raw
    return entries, data


def file_bytes(header, data, length=None):
    """A file of a header (an object or raw JSON bytes); `length` may lie."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def safetensors(tensors, **changes):
    """A file of {name: (dtype, shape, bytes)}; `changes` {name: fields} lie."""
    entries, data = tensor_entries(tensors)
    for name, fields in changes.items():
        entries[name] = {**entries[name], **fields}
    return file_bytes({"__metadata__": {"format": "pt"}, **entries}, data)
