"""Llama checkpoints made in memory, right or wrong in one place, and an independent reference for
them; plus what loads and runs them on a device."""
import asyncio
import gzip
import json
from contextlib import aclosing
from functools import cache

import numpy as np
import pytest

from pyengine.decode.sampling import SamplingParams
from pyengine.device.native import NativeDevice
from pyengine.device.numpy_ref import NumpyDevice
from pyengine.engine import load
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource, FileSource
from tests.formats.safetensors_writer import safetensors

GREEDY = SamplingParams(temperature=0)
CONFIG = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "vocab_size": 83, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "max_position_embeddings": 256, "torch_dtype": "float32",
}
# its stacked matrices are larger than SPLIT_BINDING, all else is smaller
SPLIT = {**CONFIG, "hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8,
         "head_dim": 32, "num_hidden_layers": 1}
SPLIT_BINDING = 300 << 10
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
DTYPES = {"F32": "<f4", "F16": "<f2"}


def config(**changes):
    """CONFIG with changes; the value None leaves a field out."""
    return {k: v for k, v in {**CONFIG, **changes}.items() if v is not None}


def shapes(c):
    """{tensor: shape} that a config asks for."""
    hidden, width, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    rows = {"self_attn.q_proj": c["num_attention_heads"] * d, "mlp.up_proj": width,
            "self_attn.k_proj": c["num_key_value_heads"] * d, "mlp.gate_proj": width,
            "self_attn.v_proj": c["num_key_value_heads"] * d}
    found = {"model.embed_tokens.weight": (c["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        found |= {f"{layer}{name}.weight": (n, hidden) for name, n in rows.items()}
        found |= {f"{layer}{name}.weight": (hidden,)
                  for name in ("input_layernorm", "post_attention_layernorm")}
        found[layer + "self_attn.o_proj.weight"] = (hidden, c["num_attention_heads"] * d)
        found[layer + "mlp.down_proj.weight"] = (hidden, width)
    if not c["tie_word_embeddings"]:
        found["lm_head.weight"] = (c["vocab_size"], hidden)
    return found


def tensors(c, seed=5):
    """Random f32 weights, scaled so that logits have a spread of about 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes(c).items():
        array = rng.normal(size=shape)
        found[name] = (1 + 0.1 * array if len(shape) == 1 else array * shape[1] ** -0.5)
    return {name: array.astype(np.float32) for name, array in found.items()}


def encoded(array, dtype):
    """(dtype, shape, bytes) of a safetensors tensor; "BF16" rounds to nearest even."""
    if dtype in DTYPES:
        return dtype, array.shape, array.astype(DTYPES[dtype]).tobytes()
    if dtype == "BF16":
        bits = array.astype(np.float32).view(np.uint32)
        rounded = bits + 0x7FFF + (bits >> 16 & 1) >> 16
        return dtype, array.shape, rounded.astype("<u2").tobytes()
    return dtype, array.shape, bytes(array.size * {"I32": 4, "U8": 1, "F64": 8}[dtype])


def decoded(array, dtype):
    """The values that `encoded` keeps, as f32."""
    raw = encoded(array, dtype)[2]
    if dtype in DTYPES:
        return np.frombuffer(raw, DTYPES[dtype]).astype(np.float32).reshape(array.shape)
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(array.shape)


def checkpoint(c=None, weights=None, dtypes=None):
    """Checkpoint of config `c`, f32 arrays `weights` and {tensor: dtype} other than F32."""
    c = config() if c is None else c
    weights = tensors(c) if weights is None else weights
    dtypes = dtypes or {}
    data = {n: encoded(a, dtypes.get(n, "F32")) for n, a in weights.items()}
    files = {"config.json": json.dumps(c).encode(), "model.safetensors": safetensors(data)}
    return asyncio.run(open_checkpoint({n: BytesSource(n, raw) for n, raw in files.items()}))


def folder(path):
    """Checkpoint of the files in a folder, a .gz being what it holds, or of one GGUF file."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    sources = {p.name: FileSource(p) for p in paths if p.suffix in (".json", ".safetensors", ".gguf")}
    sources |= {p.stem: BytesSource(p.stem, gzip.decompress(p.read_bytes()))
                for p in paths if p.suffix == ".gz"}
    return asyncio.run(open_checkpoint(sources))


def reference_logits(c, weights, ids, frequencies=None):
    """Logits after `ids` in f64, straight from the formulas; `frequencies` (head_dim / 2,)."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    d, n, group = c["head_dim"], len(ids), c["num_attention_heads"] // c["num_key_value_heads"]
    if frequencies is None:
        frequencies = c["rope_theta"] ** (-np.arange(0, d, 2) / d)
    angles = np.arange(n)[:, None, None] * frequencies
    seen = np.tril(np.ones((n, n), bool))
    window = seen & ~np.tril(seen, -(c.get("sliding_window") or n))

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * w[name]

    def rotated(x, layer):
        step = c.get("no_rope_layer_interval", n + 99)
        if not c.get("no_rope_layers", [1] * 99)[layer] or (layer + 1) % step == 0:
            return x
        z = (x[..., :d // 2] + 1j * x[..., d // 2:]) * np.exp(1j * angles)
        return np.concatenate([z.real, z.imag], -1)

    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = {
            key: f"model.layers.{i}.{key}.weight"
            for key in (
                "input_layernorm",
                "post_attention_layernorm",
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.o_proj",
                "mlp.gate_proj",
                "mlp.up_proj",
                "mlp.down_proj",
            )
        }
        h = norm(x, at["input_layernorm"])
        q, k, v = ((h @ w[at[f"self_attn.{p}_proj"]].T).reshape(n, -1, d) for p in "qkv")
        q, k, v = rotated(q, i), *(np.repeat(a, group, 1) for a in (rotated(k, i), v))
        full = c.get("layer_types", ["sliding_attention"] * 99)[i] == "full_attention"
        scores = np.where(seen if full else window, np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d), -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        h = np.einsum("hij,jhd->ihd", p / p.sum(-1, keepdims=True), v).reshape(n, -1)
        x = x + h @ w[at["self_attn.o_proj"]].T
        h = norm(x, at["post_attention_layernorm"])
        gate, up = h @ w[at["mlp.gate_proj"]].T, h @ w[at["mlp.up_proj"]].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[at["mlp.down_proj"]].T
    head = "model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"
    return norm(x[-1], "model.norm.weight") @ w[head].T


# ---- running -------------------------------------------------------------------------------------


@cache
def _native():
    try:
        return asyncio.run(NativeDevice.create())
    except EngineError as error:
        return error


def device(name):
    """A device by name; the test is skipped, with the reason, where the machine has no GPU
    driver."""
    if name == "numpy":
        return NumpyDevice()
    found = _native()
    if isinstance(found, EngineError):
        pytest.skip(found.message)
    return found


def engine(source, on="numpy", quant="keep", kv="f32", **options):
    """Engine of a Checkpoint on a device (by name, or one)."""
    target = device(on) if isinstance(on, str) else on
    return asyncio.run(load(source, target, quant=quant, kv=kv, **options))


def close(*engines):
    """Releases engines."""
    for one in engines:
        asyncio.run(one.close())


def logits(source, ids, on="numpy", **options):
    """First logits f32 (vocab,) of a fresh engine: `source` as `engine` takes it."""
    one = engine(source, on, **options)
    found = first_logits(one, ids)
    close(one)
    return found


def first_logits(one, ids):
    """First logits f32 (vocab,) of an engine."""
    return np.frombuffer(asyncio.run(one.first_logits([int(i) for i in ids])), np.float32)


async def batches(source, ids, params=GREEDY, **options):
    """Every batch of a generation; `source` is an Engine or a DecodeLoop."""
    generate = getattr(source, "generate_ids", None) or source.generate
    async with aclosing(generate([int(i) for i in ids], params, **options)) as stream:
        return [batch async for batch in stream]


def generated(source, ids, params=GREEDY, **options):
    """(ids, finish reason) of a generation."""
    found = asyncio.run(batches(source, ids, params, **options))
    return [i for batch in found for i in batch.ids], found[-1].finish_reason


def refused(code, action):
    """Runs `action`, which must raise `code`; -> the EngineError."""
    with pytest.raises(EngineError) as info:
        action()
    assert info.value.code == code, info.value
    return info.value
