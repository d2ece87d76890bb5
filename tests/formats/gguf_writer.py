"""A small GGUF writer for tests: honest by default, and able to lie about every field."""

import struct

import numpy as np

TYPES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8}
TYPES |= {"array": 9, "u64": 10, "i64": 11, "f64": 12}
FORMATS = dict(u8="B", i8="b", u16="H", i16="h", u32="I", i32="i", f32="f", bool="?", u64="Q")
FORMATS |= dict(i64="q", f64="d")
GGML = dict(f32=0, f16=1, q4_0=2, q4_1=3, q5_0=6, q5_1=7, q8_0=8, q4_k=12, q5_k=13, q6_k=14, i32=26, bf16=30)


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(kind, value):
    """The bytes of a metadata value; `kind` is a name of TYPES, or ("array", kind of the items)."""
    if isinstance(kind, tuple):
        head = struct.pack("<IQ", TYPES[kind[1]], len(value))
        return head + b"".join(value_bytes(kind[1], item) for item in value)
    return text(value) if kind == "str" else struct.pack("<" + FORMATS[kind], value)


class GgufWriter:
    """Collects pairs and tensors; `build` lays them out. `counts`, `magic`, `version` may lie."""

    def __init__(self, version=3, alignment=32):
        self.version, self.alignment, self.magic = version, alignment, b"GGUF"
        self.pairs, self.tensors, self.counts = [], [], (None, None)
        if alignment != 32:
            self.pair("general.alignment", "u32", alignment)

    def pair(self, key, kind, value):
        code = TYPES["array" if isinstance(kind, tuple) else kind]
        self.raw_pair(text(key) + struct.pack("<I", code) + value_bytes(kind, value))

    def raw_pair(self, raw):
        self.pairs.append(raw)

    def tensor(self, name, shape, encoding, data, offset=None, dims=None):
        """`shape` row-major; `encoding` a name of GGML or a number; `offset`, `dims` may lie."""
        dims = list(reversed(shape)) if dims is None else dims
        kind = GGML.get(encoding, encoding)
        self.tensors.append((name, dims, kind, bytes(data), offset))

    def build(self):
        infos, data = [], bytearray()
        for name, dims, kind, raw, offset in self.tensors:
            data += bytes(-len(data) % self.alignment)
            at = len(data) if offset is None else offset
            info = text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            infos.append(info + struct.pack("<IQ", kind, at))
            data += raw
        n_tensors, n_kv = self.counts
        n_tensors = len(infos) if n_tensors is None else n_tensors
        n_kv = len(self.pairs) if n_kv is None else n_kv
        head = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_kv)
        head += b"".join(self.pairs) + b"".join(infos)
        return head + bytes(-len(head) % self.alignment) + bytes(data)


LLAMA = [
    ("general.architecture", "str", "llama"),
    ("llama.block_count", "u32", 1),
    ("llama.context_length", "u32", 128),
    ("llama.embedding_length", "u32", 64),
    ("llama.feed_forward_length", "u32", 96),
    ("llama.attention.head_count", "u32", 4),
    ("llama.attention.head_count_kv", "u32", 2),
    ("llama.rope.freq_base", "f32", 10000.0),
    ("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5),
    ("tokenizer.ggml.tokens", ("array", "str"), [f"t{i}" for i in range(11)]),
    ("tokenizer.ggml.scores", ("array", "f32"), [0.5 * i for i in range(11)]),
    ("tokenizer.ggml.bos_token_id", "u32", 1),
    ("tokenizer.ggml.eos_token_id", "u32", 2),
    ("tokenizer.chat_template", "str", "{{ messages }}"),
]
SHAPES = {
    "token_embd.weight": (11, 64),
    "output_norm.weight": (64,),
    "blk.0.attn_norm.weight": (64,),
    "blk.0.attn_q.weight": (64, 64),
    "blk.0.attn_k.weight": (32, 64),
    "blk.0.attn_v.weight": (32, 64),
    "blk.0.attn_output.weight": (64, 64),
    "blk.0.ffn_norm.weight": (64,),
    "blk.0.ffn_gate.weight": (96, 64),
    "blk.0.ffn_up.weight": (96, 64),
    "blk.0.ffn_down.weight": (64, 96),
}


def small_llama(without=(), replace=None, **options):
    """A writer holding a one-layer llama: q4_0 matrices, f32 norms, random bytes.

    `without`: keys and tensors to leave out; `replace`: {key: (kind, value)} to change or add.
    """
    writer, rng, replace = GgufWriter(**options), np.random.default_rng(17), dict(replace or {})
    for key, kind, value in LLAMA:
        if key not in without:
            writer.pair(key, *replace.pop(key, (kind, value)))
    for key, (kind, value) in replace.items():
        writer.pair(key, kind, value)
    for name, shape in SHAPES.items():
        if name in without:
            continue
        elements = int(np.prod(shape))
        nbytes = elements * 4 if len(shape) == 1 else elements // 32 * 18
        writer.tensor(name, shape, "f32" if len(shape) == 1 else "q4_0", rng.bytes(nbytes))
    return writer
