"""GGUF files of real configurations with random weights, for timing only. Standard library only.

    python3 random_model.py FOLDER smollm2-360m llama-3.2-1b ...

Matrices are Q4_0 and the embedding Q8_0, as in the usual Q4 files, so that bytes, kernels and plan
are those of the real model; the blocks repeat a random chunk, with scales that keep activations
near 1. There is no tokenizer: such a model takes and gives token ids.
"""

import os
import struct
import sys
from pathlib import Path

F32, Q4_0, Q8_0 = 0, 2, 8
BLOCK = 32
BLOCK_BYTES = {Q4_0: 18, Q8_0: 34}
SPREAD = {Q4_0: 4.61, Q8_0: 73.9}  # standard deviation of a uniform code
CHUNK_BLOCKS = 1 << 14
ALIGNMENT = 32
VERSION = 3


def config(arch, layers, hidden, width, heads, kv_heads, head_dim, vocab, theta, tied=True):
    """A model's shape, with the names of its published config.json in the comments of CONFIGS."""
    return {
        "arch": arch,
        "layers": layers,
        "hidden": hidden,
        "width": width,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab": vocab,
        "theta": theta,
        "tied": tied,
    }


# layers, hidden_size, intermediate_size, heads, kv heads, head_dim, vocab_size, rope_theta
CONFIGS = {
    "smollm2-135m": config("llama", 30, 576, 1536, 9, 3, 64, 49152, 1e5),
    "smollm2-360m": config("llama", 32, 960, 2560, 15, 5, 64, 49152, 1e5),
    "qwen3-0.6b": config("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 1e6),
    "llama-3.2-1b": config("llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5),
}
CONTEXT = 8192


def tensors(c):
    """[(name, shape row-major, type)] of a configuration, in file order."""
    hidden, head = c["hidden"], c["head_dim"]
    q, kv = c["heads"] * head, c["kv_heads"] * head
    rows = [("token_embd", (c["vocab"], hidden), Q8_0), ("output_norm", (hidden,), F32)]
    for i in range(c["layers"]):
        layer = [
            ("attn_norm", (hidden,), F32),
            ("ffn_norm", (hidden,), F32),
            ("attn_q", (q, hidden), Q4_0),
            ("attn_k", (kv, hidden), Q4_0),
            ("attn_v", (kv, hidden), Q4_0),
            ("attn_output", (hidden, q), Q4_0),
            ("ffn_gate", (c["width"], hidden), Q4_0),
            ("ffn_up", (c["width"], hidden), Q4_0),
            ("ffn_down", (hidden, c["width"]), Q4_0),
        ]
        if c["arch"] == "qwen3":
            layer += [("attn_q_norm", (head,), F32), ("attn_k_norm", (head,), F32)]
        rows += [(f"blk.{i}.{name}", shape, kind) for name, shape, kind in layer]
    if not c["tied"]:
        rows.append(("output", (c["vocab"], hidden), Q8_0))
    return [(f"{name}.weight", shape, kind) for name, shape, kind in rows]


def nbytes(shape, kind):
    """Bytes of a tensor."""
    count = 1
    for size in shape:
        count *= size
    return 4 * count if kind == F32 else count // BLOCK * BLOCK_BYTES[kind]


def metadata(c):
    """Encoded key-value pairs and their number."""
    arch = c["arch"]
    counts = {
        "context_length": CONTEXT,
        "embedding_length": c["hidden"],
        "block_count": c["layers"],
        "feed_forward_length": c["width"],
        "attention.head_count": c["heads"],
        "attention.head_count_kv": c["kv_heads"],
        "attention.key_length": c["head_dim"],
        "attention.value_length": c["head_dim"],
        "vocab_size": c["vocab"],
    }
    reals = {"rope.freq_base": c["theta"], "attention.layer_norm_rms_epsilon": 1e-5}
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text(arch)]
    pairs += [text(f"{arch}.{key}") + struct.pack("<II", 4, value) for key, value in counts.items()]
    pairs += [text(f"{arch}.{key}") + struct.pack("<If", 6, value) for key, value in reals.items()]
    return b"".join(pairs), len(pairs)


def text(value):
    """A GGUF string."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def blocks(kind, columns):
    """CHUNK_BLOCKS random blocks of a matrix with `columns` inputs; outputs are about as large."""
    size = BLOCK_BYTES[kind]
    chunk = bytearray(os.urandom(CHUNK_BLOCKS * size))
    scale = struct.pack("<e", 1 / (SPREAD[kind] * columns**0.5))
    chunk[0::size], chunk[1::size] = scale[:1] * CHUNK_BLOCKS, scale[1:] * CHUNK_BLOCKS
    return bytes(chunk)


def write(path, c):
    """Writes the GGUF of configuration `c`, through a temporary file; returns its bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, (pairs, n_pairs) = tensors(c), metadata(c)
    infos, offset = [], 0
    for name, shape, kind in rows:
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos.append(text(name) + dims + struct.pack("<IQ", kind, offset))
        offset += -(-nbytes(shape, kind) // ALIGNMENT) * ALIGNMENT
    head = struct.pack("<4sIQQ", b"GGUF", VERSION, len(rows), n_pairs) + pairs + b"".join(infos)
    part, chunks = path.with_suffix(".part"), {}
    with open(part, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGNMENT))
        for _, shape, kind in rows:
            write_tensor(f, shape, kind, chunks)
    os.replace(part, path)
    return path.stat().st_size


def write_tensor(f, shape, kind, chunks):
    """One tensor's data and padding; `chunks` keeps the random blocks by type and width."""
    left = nbytes(shape, kind)
    padding = bytes(-left % ALIGNMENT)
    if kind == F32:
        f.write(struct.pack("<f", 1.0) * (left // 4) + padding)
        return
    key = (kind, shape[1])
    if key not in chunks:
        chunks[key] = blocks(*key)
    while left:
        f.write(chunks[key][:left])
        left -= min(left, len(chunks[key]))
    f.write(padding)


def weight_bytes(c):
    """Bytes of the quantised matrices and norms of a configuration, as in the file."""
    return sum(nbytes(shape, kind) for _, shape, kind in tensors(c))


def ensure(folder, names):
    """Makes the files of `names` that are absent in `folder`."""
    for name in names:
        path = Path(folder) / f"{name}.gguf"
        if not path.exists():
            size = write(path, CONFIGS[name])
            print(f"  made {path.name}: {size / 1e6:.0f} MB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    ensure(sys.argv[1], sys.argv[2:] or list(CONFIGS))
