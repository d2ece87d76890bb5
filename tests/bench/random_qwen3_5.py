"""Writes a checkpoint of random weights at a Qwen3.5 config's shapes, as MLX's 4-bit affine shards, for timing.

    python3 tests/bench/random_qwen3_5.py FOLDER [--config tests/goldens/configs/qwen3_5-0.8b.json] [--vocab N]

Standard library only; about 450 MB in some seconds for the 0.8B. Codes are random bits; one scale and bias a matrix keeps its
rows at about unit length, so that activations neither vanish nor overflow. There is no tokenizer: ids go in and come out.
"""
import argparse
import json
import math
import os
import struct
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[1] / "goldens" / "configs" / "qwen3_5-0.8b.json"
GROUP, BITS = 64, 4
SHARD = 128 << 20   # bytes of a shard, at least: a new one begins behind the tensor that exceeds it
CHUNK = 1 << 20


def bf16(value):
    """Two bytes, rounded towards zero."""
    return struct.pack("<f", value)[2:]


class Tensor:
    """`name`, safetensors `dtype`, `shape`; `fill` is the bytes that repeat, None for random ones."""

    def __init__(self, name, dtype, shape, fill=None):
        self.name, self.dtype, self.shape, self.fill = name, dtype, shape, fill
        self.nbytes = math.prod(shape) * {"U32": 4, "BF16": 2, "F32": 4}[dtype]

    def chunks(self):
        for at in range(0, self.nbytes, CHUNK):
            size = min(CHUNK, self.nbytes - at)
            yield os.urandom(size) if self.fill is None else self.fill * (size // len(self.fill))


def matrix(name, rows, columns):
    """Codes 0 .. 15 with scale s and bias -7.5 s: mean 0, deviation 4.6 s, that is 1 / sqrt(columns)."""
    scale = 1 / (4.6 * math.sqrt(columns))
    yield Tensor(name + ".weight", "U32", [rows, columns * BITS // 32])
    for part, value in (("scales", scale), ("biases", -7.5 * scale)):
        yield Tensor(f"{name}.{part}", "BF16", [rows, columns // GROUP], bf16(value))


def vector(name, length, value=1.0):
    """A gain as MLX has it: 1 is added already."""
    return Tensor(name, "BF16", [length], bf16(value))


def delta_net(c, layer):
    hidden, nv = c["hidden_size"], c["linear_num_value_heads"]
    keys, values = c["linear_num_key_heads"] * c["linear_key_head_dim"], nv * c["linear_value_head_dim"]
    for part, rows in (("in_proj_qkv", 2 * keys + values), ("in_proj_z", values), ("in_proj_b", nv), ("in_proj_a", nv)):
        yield from matrix(f"{layer}linear_attn.{part}", rows, hidden)
    yield from matrix(f"{layer}linear_attn.out_proj", hidden, values)
    yield Tensor(f"{layer}linear_attn.conv1d.weight", "BF16", [2 * keys + values, c["linear_conv_kernel_dim"], 1], bf16(0.5))
    yield vector(f"{layer}linear_attn.norm.weight", c["linear_value_head_dim"])
    yield vector(f"{layer}linear_attn.A_log", nv, 0.5)
    yield vector(f"{layer}linear_attn.dt_bias", nv, -2.0)


def attention(c, layer):
    hidden, head = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    for part, rows, columns in (("q", 2 * q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
        yield from matrix(f"{layer}self_attn.{part}_proj", rows, columns)
    for part in "qk":
        yield vector(f"{layer}self_attn.{part}_norm.weight", head)


def tensors(c):
    hidden, width = c["hidden_size"], c["intermediate_size"]
    yield from matrix("language_model.model.embed_tokens", c["vocab_size"], hidden)
    for i, kind in enumerate(c["layer_types"]):
        layer = f"language_model.model.layers.{i}."
        yield from delta_net(c, layer) if kind == "linear_attention" else attention(c, layer)
        for part, rows, columns in (("gate", width, hidden), ("up", width, hidden), ("down", hidden, width)):
            yield from matrix(f"{layer}mlp.{part}_proj", rows, columns)
        for part in ("input_layernorm", "post_attention_layernorm"):
            yield vector(f"{layer}{part}.weight", hidden)
    yield vector("language_model.model.norm.weight", hidden)


def shards(found):
    """Lists of tensors of about SHARD bytes."""
    shard = []
    for tensor in found:
        shard.append(tensor)
        if sum(t.nbytes for t in shard) >= SHARD:
            yield shard
            shard = []
    if shard:
        yield shard


def write_shard(path, shard):
    header, at = {"__metadata__": {"format": "mlx"}}, 0
    for t in shard:
        header[t.name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in shard:
            file.writelines(t.chunks())
    return at


def write(folder, c):
    """-> bytes of all tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(shards(tensors(c)))
    names = [f"model-{i + 1:05}-of-{len(parts):05}.safetensors" for i in range(len(parts))]
    total = sum(write_shard(folder / name, part) for name, part in zip(names, parts))
    index = {"metadata": {"total_size": total},
             "weight_map": {t.name: name for name, part in zip(names, parts) for t in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    quantization = {"group_size": GROUP, "bits": BITS, "mode": "affine"}
    config = {"model_type": "qwen3_5", "text_config": c, "tie_word_embeddings": c["tie_word_embeddings"],
              "quantization": quantization, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--vocab", type=int, help="another vocabulary size, for a smaller file")
    o = parser.parse_args()
    c = json.loads(o.config.read_text())
    if o.vocab:
        c["vocab_size"] = o.vocab
    print(f"{write(o.folder, c)} bytes in {o.folder}")


if __name__ == "__main__":
    main()
