"""Moonshine against its reference checkpoint, on the oracle and on the GPU: encoder output, logits,
greedy text; every length by one program; what its configs and tensors can have."""
import asyncio

import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.engine import inspect
from pyengine.ir.audio_ops import strided
from pyengine.models import moonshine
from tests.checkpoints import checkpoint, close, engine, first_logits, folder, generated, refused
from tests.models import moonshine_reference as reference
from tests.models.families import GOLDENS, LIMITS, TIE
from tests.models.faults import check_config, config_of

TINY = GOLDENS / "models-tiny" / "moonshine"
FAULTS = {
    "another activation": ({"encoder_hidden_act": "relu"}, "encoder_hidden_act"),
    "heads that do not divide": ({"decoder_num_attention_heads": 5,
                                  "decoder_num_key_value_heads": 5}, "attention heads"),
    "shared keys": ({"encoder_num_key_value_heads": 1}, "encoder_num_key_value_heads"),
    "a bias": ({"attention_bias": True}, "attention_bias"),
    "no layers": ({"encoder_num_hidden_layers": None}, "encoder_num_hidden_layers"),
    "no start": ({"decoder_start_token_id": None}, "decoder_start_token_id"),
    "no theta": ({"rope_parameters": {"partial_rotary_factor": 0.9}}, "rope_theta"),
    "no part": ({"rope_parameters": {"rope_theta": 1e4}}, "partial_rotary_factor"),
    "too large a part": ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1.5}},
                         "partial_rotary_factor"),
}


@pytest.fixture(scope="module")
def arrays():
    return np.load(TINY / "golden.npz")


@pytest.fixture(scope="module", params=LIMITS)
def golden(request):
    """(engine of the checkpoint as it is with f32 caches, limit)."""
    one = engine(folder(TINY), request.param, burst=4)
    yield one, LIMITS[request.param]
    close(one)


def listen(one, wav):
    """Encodes samples; -> the encoder's output (frames, hidden)."""
    rows, hidden = moonshine.frames(len(wav)), one.model.config.hidden
    asyncio.run(one.listen(wav.astype("<f4").tobytes(), rows))
    plan = one.model.plan
    data = asyncio.run(one._runner.read(plan.buffer("encoded"), 0, 4 * rows * hidden))
    return np.frombuffer(data, np.float32).reshape(rows, hidden)


def test_encoder_logits_and_greedy_text(golden, arrays):
    one, limit = golden
    encoded = listen(one, arrays["wav"])
    assert encoded.shape == (40, 72)
    assert np.abs(encoded[-1] - arrays["enc_last"]).max() < limit
    found = first_logits(one, arrays["decoder_ids"])
    assert np.abs(found - arrays["logits_last"]).max() < limit
    until = next((i for i, m in enumerate(arrays["margins"]) if m < TIE), 12)
    ids = generated(one, [1], max_tokens=12)[0]
    assert until > 8 and ids[:until] == arrays["greedy"][1:1 + until].tolist()


def test_the_reference_is_the_goldens(arrays):
    """What checks the real heads below gives what transformers gave for the tiny checkpoint."""
    source = folder(TINY)
    tensors = {}
    for name, ref in source.tensors.items():
        raw = asyncio.run(source.files[ref.file].read(ref.offset, ref.nbytes))
        tensors[name] = np.frombuffer(raw, "<f4").reshape(ref.shape)
    one = reference.Reference(source.config, tensors)
    encoded = one.encode(arrays["wav"])
    assert np.abs(encoded[-1] - arrays["enc_last"]).max() < 1e-4
    assert np.abs(one.logits(encoded, arrays["decoder_ids"])[-1] - arrays["logits_last"]).max() < 1e-4


@pytest.mark.parametrize("name", LIMITS)
def test_heads_of_real_sizes(arrays, name):
    """52 dims a head, of which 32 rotate: all rows of the encoder, and logits step by step."""
    tensors = reference.weights(reference.REAL_HEADS)
    want = reference.Reference(reference.REAL_HEADS, tensors)
    one, ids = engine(checkpoint(reference.REAL_HEADS, tensors), name), [1, 7, 9, 30, 83, 257]
    encoded = want.encode(arrays["wav"])
    assert np.abs(listen(one, arrays["wav"]) - encoded).max() < LIMITS[name]
    logits = want.logits(encoded, ids)
    for n in range(1, len(ids) + 1):
        assert np.abs(first_logits(one, ids[:n]) - logits[n - 1]).max() < LIMITS[name]
    close(one)


def test_a_recording_forgets_the_one_before(golden, arrays):
    """Its text is not the resident prefix's, and a shorter one leaves no key of the longer behind."""
    one, limit = golden
    listen(one, np.tile(arrays["wav"], 3)[:40000])
    other = first_logits(one, arrays["decoder_ids"])
    listen(one, arrays["wav"])
    found = first_logits(one, arrays["decoder_ids"])
    assert one.stats()["reused_tokens"] == 0
    assert np.abs(found - arrays["logits_last"]).max() < limit < np.abs(found - other).max()


@pytest.mark.parametrize("samples", [895, 1280, 16001, 100003])
def test_every_length_is_the_oracle_s(arrays, samples):
    """One program, any number of valid samples; what lies behind them is of another recording."""
    wav = np.resize(arrays["wav"], samples)
    found = {}
    for name in LIMITS:
        one = engine(folder(TINY), name)
        if samples < 16000:
            listen(one, np.full(170000, 3.0))
        found[name] = listen(one, wav)
        close(one)
    assert len(found["numpy"]) == moonshine.frames(samples) > 0
    assert np.abs(found["numpy"] - found["native"]).max() < LIMITS["native"]


def test_the_longer_program_gives_the_same(golden, arrays):
    one, limit = golden
    want = listen(one, arrays["wav"])
    programs = one.model.plan.programs
    shorter = programs.pop("encode176000")
    try:
        assert np.abs(listen(one, arrays["wav"]) - want).max() < limit
    finally:
        programs["encode176000"] = shorter


@pytest.mark.parametrize("samples", [(0, 0), (894, 0), (895, 1), (159414, 413), (480000, 1249 - 1)])
def test_frames(samples):
    assert moonshine.frames(samples[0]) == samples[1]


def test_what_is_too_long_or_too_short_is_refused(golden):
    one, _ = golden
    for samples in (480001, 0):
        data = bytes(4 * samples)
        error = refused("E_BAD_REQUEST",
                        lambda data=data, n=samples: asyncio.run(one.listen(data, strided(n, 127, 64))))
        assert error.facts["param"] == "samples" and error.facts["got"] == samples


def test_a_model_without_an_encoder_is_refused():
    one = engine(folder(GOLDENS / "models-tiny" / "llama"), context=64)
    error = refused("E_BAD_REQUEST", lambda: asyncio.run(one.listen(bytes(4000), 1)))
    assert "no encoder" in error.message
    close(one)


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("moonshine", FAULTS[fault])


def test_missing_and_unused_tensors_are_named():
    source = folder(TINY)
    name = "model.decoder.layers.1.encoder_attn.k_proj.weight"
    rest = {k: v for k, v in source.tensors.items() if k != name}
    assert name in refused("E_MISSING_TENSOR", lambda: compile_model(source.config, rest)).message
    more = {**source.tensors, "model.encoder.conv4.weight": source.tensors[name]}
    assert "conv4" in refused("E_UNUSED_TENSOR", lambda: compile_model(source.config, more)).message
    plan = compile_model(source.config, source.tensors).plan
    assert {u.tensor for u in plan.uploads} == set(source.tensors)


def test_the_real_sizes():
    """Parameters as published: 27 and 61 million; one memory for two lengths."""
    sizes = {"tiny": (288, 1152, 6, 0.9, 27e6), "base": (416, 1664, 8, 0.62, 61e6)}
    for hidden, width, layers, part, parameters in sizes.values():
        config = config_of("moonshine", {
            "hidden_size": hidden, "intermediate_size": width, "vocab_size": 32768,
            "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": part},
            **{f"{side}_num_{what}": n for side in ("encoder", "decoder") for what, n in (
                ("hidden_layers", layers), ("attention_heads", 8), ("key_value_heads", 8))}})
        report = inspect(config, quant="keep")
        assert report["bytes"]["weights"] / 4 == pytest.approx(parameters, rel=0.05)
        assert report["bytes"]["activations"] < 50e6
        assert report["dispatches_per_token"] <= 15 * layers + 6
