"""MLX checkpoints: the twins of the tiny models, and every shape of the format against formulas in
f64."""
import asyncio
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pyengine import engine as engine_module
from pyengine import models
from pyengine.compile import compile_model
from pyengine.fit import fit
from pyengine.formats import hf_config
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from pyengine.plan.export import header_json
from tests.checkpoints import (
    close,
    config,
    device,
    engine,
    first_logits,
    folder,
    generated,
    logits,
    reference_logits,
    refused,
    tensors,
)
from tests.formats.mlx_writer import checkpoint_of
from tests.formats.safetensors_writer import safetensors
from tests.models.families import LIMITS, TIE
from tests.models.test_llama import IDS, limited

TINY = Path(__file__).resolve().parents[1] / "goldens" / "models-tiny"
TWINS = sorted(path.name for path in TINY.glob("*-mlx4"))


def known_twins():
    """The twins whose family is there."""
    types = {name: json.loads((TINY / name / "config.json").read_text()) for name in TWINS}
    return [name for name, c in types.items()
            if hf_config.text_config(c)["model_type"] in models.families()]


@pytest.mark.parametrize("on", LIMITS)
@pytest.mark.parametrize("name", known_twins())
def test_twins(name, on):
    arrays = np.load(TINY / name / "golden.npz")
    one = engine(folder(TINY / name), on, quant=None)
    assert one.model.quant == "keep"
    assert np.abs(first_logits(one, arrays["ids"]) - arrays["logits_last"]).max() < LIMITS[on]
    until = next((i for i, m in enumerate(arrays["margins16"]) if m < TIE), 16)
    assert until > 0
    found = generated(one, arrays["ids"], max_tokens=16)[0]
    assert found[:until] == arrays["greedy16"][:until].tolist()
    close(one)


def opened(c, data, shards=1, names=None):
    """Checkpoint of tensors dealt out over `shards` files, so that a matrix's parts lie apart."""
    names = names or {}
    files, where = {}, {}
    for number in range(shards):
        part = f"-{number + 1:05}-of-{shards:05}" if shards > 1 else ""
        file = f"model{part}.safetensors"
        mine = [n for i, n in enumerate(data) if i % shards == number]
        files[file] = safetensors({names.get(n, n): data[n] for n in mine})
        where |= {names.get(n, n): file for n in mine}
    files["config.json"] = json.dumps(c).encode()
    files["model.safetensors.index.json"] = json.dumps({"weight_map": where}).encode()
    return asyncio.run(open_checkpoint({n: BytesSource(n, raw) for n, raw in files.items()}))


def made(shards=1, prefix="", **options):
    """(Checkpoint, the weights that it stands for, its config)."""
    c = config(vocab_size=83, intermediate_size=160, hidden_size=128, head_dim=32)
    c, data, held = checkpoint_of(c, tensors(c), **options)
    return opened(c, data, shards, {n: prefix + n for n in data}), held, c


EXCEPTIONS = {"model.embed_tokens": (8, 32), "model.layers.1.self_attn.k_proj": None,
              "model.layers.0.mlp.up_proj": (8, 64)}
FORMS = {
    "4 bits, bf16": {},
    "8 bits, f16": {"bits": 8, "group": 32, "scale": "f16"},
    "f32, groups of 128": {"group": 128, "scale": "f32"},
    "exceptions": {"group": 32, "exceptions": EXCEPTIONS},
    "three shards": {"shards": 3, "exceptions": EXCEPTIONS},
    "renamed": {"prefix": "language_model.", "exceptions": EXCEPTIONS, "bits": 8},
}


@pytest.mark.parametrize("on", LIMITS)
@pytest.mark.parametrize("form", FORMS)
def test_forms(form, on):
    source, held, c = made(**FORMS[form])
    want = reference_logits(c, held, IDS)
    assert np.abs(logits(source, IDS, on, quant=None) - want).max() < 1e-4 * want.std()


@pytest.mark.parametrize("on", LIMITS)
def test_cut_by_rows(on):
    """Codes, scales and biases of a table over three buffers."""
    c = config(vocab_size=4 * 592, num_hidden_layers=1, intermediate_size=64)
    c, data, held = checkpoint_of(c, tensors(c), bits=8)
    source = opened(c, data, 2)
    want = reference_logits(c, held, [0, 591, 592, 2000])
    row = 64 + 4 + 12
    one = engine(source, limited(on, 800 * row), context=32, quant="keep")
    assert [n.op for n in one.model.graphs[0].nodes].count("embed_into") == 2
    assert np.abs(first_logits(one, [0, 591, 592, 2000]) - want).max() < 1e-4 * want.std()
    close(one)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_from_the_config_alone_are_what_is_allocated(form):
    source, _, c = made(**FORMS[form])
    if FORMS[form].get("prefix"):
        c["quantization"] = {k.replace("model.", "language_model.model.", 1): v
                             for k, v in c["quantization"].items()}
    one = engine(source, "native", quant=None, context=64, kv="f16")
    allocated = sum(buffer.size for buffer in one._runner._buffers)
    caps = device("native").caps
    found = engine_module.inspect(c, context=64, caps=caps)
    assert found["quant"] == "keep" and found["bytes"] == one.model.plan.bytes_needed()
    assert found["bytes"]["total"] == allocated
    assert fit(c, budget=1 << 40, context=64, caps=caps).bytes == found["bytes"]
    close(one)


def test_another_quantisation_of_it_is_refused():
    error = refused("E_BAD_REQUEST", lambda: logits(made()[0], IDS, quant="affine4-g32"))
    assert "keep" in error.message


def test_shifted_gains_are_marked():
    """By the moved convolution beside them; a plain model's are as they were."""
    c = config(num_hidden_layers=1)
    c, data, _ = checkpoint_of(c, tensors(c))
    conv = {"model.layers.0.linear_attn.conv1d.weight": ("F32", (8, 4, 1), bytes(128))}
    marked = opened(c, {**data, **conv}).tensors
    assert marked["model.norm.weight"].shifted and not marked["model.embed_tokens.weight"].shifted
    assert marked["model.layers.0.linear_attn.conv1d.weight"].shape == (8, 1, 4)
    assert not any(ref.shifted for ref in opened(c, data).tensors.values())


@pytest.mark.parametrize("on", LIMITS)
@pytest.mark.parametrize("scale", ["f32", "f16", "bf16"])
def test_shifted_gains_lose_their_one(on, scale):
    c = config(num_hidden_layers=1)
    w = tensors(c)
    gains = {name: array + 1 for name, array in w.items() if array.ndim == 1}
    c, data, held = checkpoint_of(c, {**w, **gains}, scale=scale)
    source = opened(c, data)
    source.tensors = {n: dataclasses.replace(ref, shifted=n in gains)
                      for n, ref in source.tensors.items()}
    want = reference_logits(c, {n: a - 1 if n in gains else a for n, a in held.items()}, IDS)
    assert np.abs(logits(source, IDS, on, quant=None) - want).max() < 1e-4 * want.std()


BROKEN = {"bf16": b"\x80\xff", "f16": b"\x01\x7c", "f32": b"\x00\x00\xc0\x7f"}


@pytest.mark.parametrize("on", LIMITS)
@pytest.mark.parametrize("part", ["scales", "biases"])
@pytest.mark.parametrize("scale", BROKEN)
def test_infinite_scales_are_refused(on, part, scale):
    """One among many: minus infinity, and two NaN."""
    c = config(num_hidden_layers=1)
    c, data, _ = checkpoint_of(c, tensors(c), scale=scale)
    name = "model.layers.0.mlp.up_proj." + part
    dtype, shape, raw = data[name]
    size = len(BROKEN[scale])
    data[name] = dtype, shape, raw[:7 * size] + BROKEN[scale] + raw[8 * size:]
    error = refused("E_UNSUPPORTED_TENSOR", lambda: engine(opened(c, data), on))
    assert error.facts["tensor"] == name


def test_the_browser_is_told_what_must_be_finite():
    source, _, _ = made(scale="f16")
    plan = compile_model(source.config, source.tensors, context=16).plan
    header = json.loads(header_json(plan))
    rows = [row for _, _, _, pieces in header["uploads"] for row in pieces]
    told = {header["finite"][str(row[10])][0] for row in rows if row[10] >= 0}
    assert told == {n for n in (p.tensor for p in plan.uploads) if n.endswith((".scales", ".biases"))}
    assert {tuple(row[1:]) for row in header["finite"].values()} == {(2, 0x7C00)}
