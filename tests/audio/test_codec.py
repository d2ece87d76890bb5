"""NanoCodec's decoder against NeMo's own output on a tiny checkpoint: both forms of its weights, and
frames that come one by one."""
import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from pyengine.audio.codec import compile_codec, load_codec
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from tests.checkpoints import device, encoded, refused
from tests.formats.safetensors_writer import safetensors

CLOSE = 1e-4    # of samples in -1 .. 1
CUTS = ((1, 1, 1, 1, 1, 1), (2, 4), (5, 1), (3, 1, 2))
NORM = ".parametrizations.weight.original"


@pytest.fixture(scope="module")
def folder(goldens):
    return goldens / "nanocodec-tiny"


@pytest.fixture(scope="module")
def golden(folder):
    return np.load(folder / "golden.npz")


@pytest.fixture(scope="module")
def frames(golden):
    return golden["codes"].T.tolist()


@pytest.fixture(scope="module")
def normed(folder):
    """{name: array} of the checkpoint, whose convolutions have weight norms."""
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    return {name: np.frombuffer(raw[8 + size:], {"F32": "<f4", "I32": "<i4"}[entry["dtype"]],
                                int(np.prod(entry["shape"])),
                                entry["data_offsets"][0]).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


@pytest.fixture(scope="module")
def fused(normed):
    """The same checkpoint without weight norms: w = g v / |v| over all but the first dimension."""
    found = {}
    for name, array in normed.items():
        prefix, part = name.rpartition(NORM)[::2]
        if not prefix:
            found[name] = array
        elif part == "1":
            v = array.astype(np.float64)
            length = np.sqrt((v ** 2).sum((1, 2), keepdims=True))
            found[prefix + ".weight"] = (normed[f"{prefix}{NORM}0"] * v / length).astype(np.float32)
    return found


def checkpoint(folder, tensors, **changes):
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        part = next((v for v in config.values() if isinstance(v, dict) and key in v), config)
        part[key] = value
    data = {n: encoded(a, "F32" if a.dtype.kind == "f" else "I32") for n, a in tensors.items()}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": safetensors(data)}
    return asyncio.run(open_checkpoint({n: BytesSource(n, raw) for n, raw in files.items()}))


def opened(folder, tensors, target, buckets=(1, 4, 16)):
    return asyncio.run(load_codec(checkpoint(folder, tensors), target, buckets=buckets))


def samples(codec, frames):
    return np.frombuffer(asyncio.run(codec.decode(frames)), np.float32)


def check_streams(codec, frames, cuts=CUTS):
    codec.reset()
    whole = samples(codec, frames)
    for cut in cuts:
        codec.reset()
        starts = np.cumsum((0, *cut))
        parts = [samples(codec, frames[a:b]) for a, b in zip(starts, starts[1:])]
        assert np.concatenate(parts).tobytes() == whole.tobytes(), cut


@pytest.mark.parametrize("form", ["normed", "fused"])
def test_audio_and_streams_on_numpy(folder, golden, frames, form, request):
    codec = opened(folder, request.getfixturevalue(form), device("numpy"))
    audio = samples(codec, frames)
    assert (np.abs(golden["audio"]) == 1).any(), "the golden has clamped samples"
    assert np.abs(audio - golden["audio"]).max() < CLOSE
    check_streams(codec, frames, CUTS[:2])


@pytest.mark.parametrize("software", [True, False])
def test_audio_and_streams_on_a_gpu(folder, golden, frames, normed, fused, software):
    """Both sorts of tiles: those of CPUs that pretend to be GPUs, and those of GPUs."""
    native = device("native")
    kept, native.caps = native.caps, replace(native.caps, software=software)
    try:
        codec = opened(folder, normed if software else fused, native)
    finally:
        native.caps = kept
    assert np.abs(samples(codec, frames) - golden["audio"]).max() < CLOSE
    check_streams(codec, frames)
    # more than the largest program, in other cuts than its own
    check_streams(codec, frames * 6, ((17, 19), (36,)))
    asyncio.run(codec.decode(frames[:1]))
    live = codec.live()
    asyncio.run(codec.decode(frames))
    assert codec.live() == live
    codec.close()


def test_no_program_differs_but_in_rows(folder, fused):
    """Every bucket has the same pipelines in the same order, so that it adds up alike."""
    source = checkpoint(folder, fused)
    plan = compile_codec(source.config, source.tensors).plan
    one, four, sixteen = ([d.pipeline for d in plan.programs[f"frames{n}"]] for n in (1, 4, 16))
    assert one == four == sixteen and len(one) == 98


def test_a_reset_forgets_what_came_before(folder, frames, fused):
    codec = opened(folder, fused, device("numpy"), buckets=(1, 4))
    first = samples(codec, frames[:2])
    again = samples(codec, frames[:2])
    codec.reset()
    assert samples(codec, frames[:2]).tobytes() == first.tobytes() != again.tobytes()
    assert samples(codec, []).size == 0


@pytest.mark.parametrize("bad, what", [
    ([[1, 2, 3]], "3 codes"), ([[1, 2, 3, 4], [1, 2, 3, 4032]], "4032"), ([[1, 2, 3, -1]], "-1"),
    ([[1, 2, 3, 4.0]], "4.0")])
def test_wrong_codes_are_refused_before_any_is_decoded(folder, frames, fused, bad, what):
    codec = opened(folder, fused, device("numpy"), buckets=(1,))
    error = refused("E_BAD_REQUEST", lambda: asyncio.run(codec.decode(frames[:1] + bad)))
    assert what in error.message
    first = samples(codec, frames[:1])
    codec.reset()
    assert samples(codec, frames[:1]).tobytes() == first.tobytes(), "a refusal moved on"


BIAS = "audio_decoder.pre_conv.conv.bias"


def test_a_checkpoint_must_be_whole_and_known(folder, normed, fused):
    def compiled(tensors, **changes):
        source = checkpoint(folder, tensors, **changes)
        return compile_codec(source.config, source.tensors)

    missing = {k: v for k, v in fused.items() if k != BIAS}
    assert BIAS in refused("E_MISSING_TENSOR", lambda: compiled(missing)).message
    gain = next(name for name in normed if name.endswith(NORM + "0"))
    without = {k: v for k, v in normed.items() if k != gain}
    assert "weight_g" in refused("E_MISSING_TENSOR", lambda: compiled(without)).message
    more = fused | {"audio_decoder.extra.weight": fused[BIAS]}
    assert "extra" in refused("E_UNUSED_TENSOR", lambda: compiled(more)).message
    shaped = fused | {BIAS: fused[BIAS][:-1].copy()}
    refused("E_UNSUPPORTED_TENSOR", lambda: compiled(shaped))
    compiled(fused | {"audio_encoder.any.weight": fused[BIAS]})  # an encoder is left alone


@pytest.mark.parametrize("field, value", [
    ("activation", "lrelu"), ("output_activation", "tanh"), ("input_dim", 20), ("base_channels", 100),
    ("num_levels_per_group", [9, 8, 7]), ("up_sample_rates", []), ("num_groups", None),
    ("decoder_config", None), ("resblock_kernel_sizes", [3, 1 << 40])])
def test_a_config_with_other_maths_is_refused(folder, fused, field, value):
    source = checkpoint(folder, fused, **{field: value})
    refused("E_UNSUPPORTED_CONFIG", lambda: compile_codec(source.config))


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {"model_type": None}, {}])
def test_other_models_are_no_codec(config):
    refused("E_UNSUPPORTED_MODEL", lambda: compile_codec(config))


def test_a_config_may_leave_its_type_out(folder, fused):
    source = checkpoint(folder, fused)
    kind = source.config.pop("model_type")
    assert kind == "nanocodec" and compile_codec(source.config, source.tensors).config.frame == 1764
