"""GGUF v2 and v3 (little endian) headers, read from a `ByteSource` in growing windows.

Format: ggml/docs/gguf.md. No length, count or offset is used before it is checked against the
file's size. What reaches past the end of the file is E_TRUNCATED; what no file could mean is
E_BAD_FILE.
"""

import struct
import sys
from array import array
from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.formats.layout import FileTensor, check_overlaps
from pyengine.quant.blocks import BLOCKS

FIRST_WINDOW = 1 << 20
MAX_HEADER = 1 << 28  # the largest known vocabularies need about 20 MB
MAX_DIMS = 4
# ggml_type: what we read, then names for the errors
ENCODINGS = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    12: "q4_k",
    13: "q5_k",
    14: "q6_k",
    24: "i8",
    26: "i32",
    27: "i64",
    30: "bf16",
}
OTHER_TYPES = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    25: "I16",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}
# metadata value type: (struct code, array code)
_SCALARS = {
    0: ("<B", "B"),
    1: ("<b", "b"),
    2: ("<H", "H"),
    3: ("<h", "h"),
    4: ("<I", "I"),
    5: ("<i", "i"),
    6: ("<f", "f"),
    7: ("<?", "B"),
    10: ("<Q", "Q"),
    11: ("<q", "q"),
    12: ("<d", "d"),
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class GgufHeader:
    """`metadata` values are int, float, bool, str, list of str, or `array.array` of numbers."""

    version: int
    metadata: dict
    tensors: tuple


class _Short(Exception):
    """The window ends before byte `args[0]`, which the file does hold."""


async def read_header(source):
    """GgufHeader of a ByteSource. Raises E_BAD_FILE, E_TRUNCATED, E_UNSUPPORTED_TENSOR."""
    scan = _Scan(source.name, source.size)
    await scan.extend(source, min(FIRST_WINDOW, source.size))
    version, n_tensors, n_kv = await scan.item(source, scan.start)
    metadata, infos, names = {}, [], set()
    while len(metadata) < n_kv:
        key, value = await scan.item(source, scan.pair)
        if key in metadata:
            scan.bad(f"the key {_short(key)} appears twice")
        metadata[key] = value
    while len(infos) < n_tensors:
        info = await scan.item(source, scan.info)
        if info[0] in names:
            scan.bad(f"the tensor {_short(info[0])} appears twice")
        names.add(info[0])
        infos.append(info)
    base = _align(scan.at, _alignment(scan, metadata))
    tensors = _place(scan, infos, base, _alignment(scan, metadata))
    return GgufHeader(version, metadata, tensors)


class _Scan:
    """A cursor `at` over the bytes read so far; `item` puts it back when a parse fails."""

    def __init__(self, name, size):
        self.name, self.size, self.at, self.buffer = name, size, 0, bytearray()

    async def extend(self, source, end):
        have = len(self.buffer)
        if end > have:
            self.buffer += await source.read(have, end - have)

    async def item(self, source, parse):
        """parse(), again in a window twice as long for as long as the item does not fit."""
        start = self.at
        while True:
            try:
                return parse()
            except _Short as short:
                self.at = start
                if short.args[0] > MAX_HEADER:
                    self.bad(f"the header is longer than {MAX_HEADER} bytes")
                wanted = max(short.args[0], 2 * len(self.buffer))
                await self.extend(source, min(wanted, self.size, MAX_HEADER))

    def bad(self, detail):
        raise EngineError("E_BAD_FILE", file=self.name, format="GGUF", detail=detail)

    def room(self, length, what):
        """`length` bytes follow `at`: else E_BAD_FILE (absurd), E_TRUNCATED or a wider window."""
        end = self.at + length
        if length > MAX_HEADER and end > self.size:
            self.bad(f"{what} at byte {self.at} claims {length} bytes of a file of {self.size}")
        if end > self.size:
            raise EngineError("E_TRUNCATED", file=self.name, start=self.at, end=end, size=self.size)
        if end > len(self.buffer):
            raise _Short(end)

    def number(self, form, what="a number"):
        self.room(form.size, what)
        (value,) = form.unpack_from(self.buffer, self.at)
        self.at += form.size
        return value

    def string(self, what):
        length = self.number(_U64, what)
        self.room(length, what)
        raw = self.buffer[self.at : self.at + length]
        self.at += length
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return self.bad(f"{what} at byte {self.at - length} is not UTF-8")

    def start(self):
        """version, n_tensors, n_kv."""
        self.room(min(4, self.size), "the magic")
        if bytes(self.buffer[:4]) != b"GGUF":
            self.bad(f"it starts with {bytes(self.buffer[:4])!r}, wanted b'GGUF'")
        self.at = 4
        version = self.number(_U32)
        if version not in (2, 3):
            order = " (big endian)" if version in (2 << 24, 3 << 24) else ""
            self.bad(f"version {version}{order}, wanted 2 or 3")
        n_tensors, n_kv = self.number(_U64), self.number(_U64)
        # the shortest pair has 13 bytes, the shortest tensor entry 32
        if n_kv * 13 + n_tensors * 32 > self.size - self.at:
            self.bad(
                f"{n_kv} metadata pairs and {n_tensors} tensors do not fit in {self.size} bytes"
            )
        return version, n_tensors, n_kv

    def pair(self):
        key = self.string("a metadata key")
        return key, self.value(self.number(_U32), f"metadata {_short(key)}")

    def value(self, kind, what):
        if kind == _STRING:
            return self.string(what)
        if kind == _ARRAY:
            return self.values(what)
        if kind not in _SCALARS:
            self.bad(f"{what} has value type {kind}, wanted 0 to 12")
        return self.number(struct.Struct(_SCALARS[kind][0]), what)

    def values(self, what):
        kind, count = self.number(_U32, what), self.number(_U64, what)
        if kind == _STRING:
            self.room_in_file(count * 8, what)
            return self.strings(count, what)
        if kind not in _SCALARS:
            self.bad(f"{what} is an array of value type {kind}, wanted a number or a string")
        numbers = array(_SCALARS[kind][1])
        length = count * numbers.itemsize
        self.room(length, what)
        numbers.frombytes(memoryview(self.buffer)[self.at : self.at + length])
        if sys.byteorder == "big":
            numbers.byteswap()
        self.at += length
        return numbers

    def room_in_file(self, length, what):
        """As `room`, but the bytes need not be in the window yet."""
        try:
            self.room(length, what)
        except _Short:
            pass

    def strings(self, count, what):
        """`count` strings, without calls: a vocabulary has 100,000 of them and Pyodide is slow."""
        buffer, at, end, unpack, out = self.buffer, self.at, len(self.buffer), _U64.unpack_from, []
        for _ in range(count):
            if at + 8 > end:
                self.at = at
                self.room(8, what)
            (length,) = unpack(buffer, at)
            start, at = at + 8, at + 8 + length
            if at > end:
                self.at = start
                self.room(length, what)
            out.append(buffer[start:at])
        self.at = at
        try:
            return [raw.decode("utf-8") for raw in out]
        except UnicodeDecodeError:
            return self.bad(f"{what} has a string that is not UTF-8")

    def info(self):
        """name, dims (fastest first), ggml type, offset in the data section."""
        name = self.string("a tensor name")
        n_dims = self.number(_U32)
        if not 1 <= n_dims <= MAX_DIMS:
            self.bad(f"tensor {_short(name)} has {n_dims} dimensions, wanted 1 to {MAX_DIMS}")
        dims = tuple(self.number(_U64) for _ in range(n_dims))
        return name, dims, self.number(_U32), self.number(_U64)


def _alignment(scan, metadata):
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 1 <= value <= 1 << 20 or value & (value - 1):
        scan.bad(f"general.alignment is {_short(value)}, wanted a power of two")
    return value


def _place(scan, infos, base, alignment):
    """`FileTensor`s with absolute offsets, each inside the file and none over another."""
    tensors = []
    for name, dims, kind, offset in infos:
        if kind not in ENCODINGS:
            label = OTHER_TYPES.get(kind, "unknown")
            raise EngineError(
                "E_UNSUPPORTED_TENSOR",
                tensor=_short(name),
                detail=f"its ggml type is {kind} ({label}), wanted "
                + ", ".join(e.upper() for e in ENCODINGS.values()),
            )
        encoding = ENCODINGS[kind]
        nbytes = _nbytes(scan, name, dims, encoding)
        if offset % alignment:
            scan.bad(
                f"tensor {_short(name)} is at offset {offset}, which {alignment} does not divide"
            )
        if offset >= 1 << 53:
            scan.bad(f"tensor {_short(name)} is at offset {offset} of a file of {scan.size} bytes")
        start = base + offset
        if start + nbytes > scan.size:
            raise EngineError(
                "E_TRUNCATED", file=scan.name, start=start, end=start + nbytes, size=scan.size
            )
        tensors.append(FileTensor(name, tuple(reversed(dims)), encoding, start, nbytes))
    check_overlaps(scan.name, "GGUF", tensors)
    return tuple(tensors)


def _nbytes(scan, name, dims, encoding):
    """Bytes of the tensor; refuses empty and overflowing shapes, and rows of part blocks."""
    block, count = BLOCKS[encoding], 1
    for dim in dims:
        count *= dim
        if not 1 <= count < 1 << 53:
            scan.bad(f"tensor {_short(name)} has the shape {list(reversed(dims))}")
    if dims[0] % block.elements:
        scan.bad(
            f"tensor {_short(name)} has rows of {dims[0]}, which {encoding} blocks of "
            f"{block.elements} do not fill"
        )
    return count // block.elements * block.nbytes


def _align(value, alignment):
    return (value + alignment - 1) // alignment * alignment


def _short(value):
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
