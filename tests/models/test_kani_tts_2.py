"""Kani-TTS 2's positions by frame, frequencies by layer and speaker vectors, against an independent
implementation of the same; and what of its configs, tensors and vectors is refused."""
import json
import struct

import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.engine import inspect
from pyengine.fit import UNLIMITED, fit
from pyengine.models.kani_tts import Layout
from tests.audio.voice_kit import Bytes
from tests.checkpoints import checkpoint, close, engine, first_logits, folder, generated, refused
from tests.models import kani_2 as kani
from tests.models.families import GOLDENS, LIMITS

IDS = kani.PROMPT + kani.SPEECH
FOLDER = GOLDENS / "models-tiny" / "kani_tts_2"
PLAIN = {"audio_step": None, "use_learnable_rope": None, "speaker_emb_dim": None}
VARIANTS = {
    "half steps": {}, "whole steps": {"audio_step": 1}, "thirds": {"audio_step": 4 / 3},
    "no learned frequencies": {"use_learnable_rope": False}, "other ends": {"alpha_min": 0.5, "alpha_max": 3},
    "frames of 7": {"tokens_per_frame": 7}, "the package's defaults": {"audio_step": None, "tokens_per_frame": None,
                                                                      "alpha_min": None, "alpha_max": None}}


def made(**changes):
    """(Checkpoint, config for the reference, tensors) of CONFIG with changes; None leaves out."""
    config = {k: v for k, v in {**kani.CONFIG, **changes}.items() if v is not None}
    tensors = kani.weights(config)
    return checkpoint(config, tensors), {"alpha_min": 0.1, "alpha_max": 2.0, **config}, tensors


def opened(source, on, vector=kani.VECTOR, **options):
    one = engine(source, on, context=256, **options)
    if vector is not None:
        one.speak_as(struct.pack(f"<{len(vector)}f", *vector))
    return one


def test_the_reference_is_lfm2s_where_nothing_is_added(monkeypatch):
    """Its layers give what transformers gave for the tiny LFM2."""
    source, golden = folder(GOLDENS / "models-tiny" / "lfm2"), np.load(GOLDENS / "models-tiny/lfm2/golden.npz")
    config = {**source.config, "rope_theta": 1e6}
    for name, value in (("HIDDEN", 64), ("HEADS", 4), ("KV_HEADS", 2), ("D", 16), ("AUDIO", 999),
                        ("TOKEN", 999), ("CONFIG", config)):
        monkeypatch.setattr(kani, name, value)
    from safetensors.numpy import load_file
    tensors = load_file(GOLDENS / "models-tiny/lfm2/model.safetensors")
    for ids, want in (("ids", "logits_last"), ("long_ids", "long_logits_last")):
        got = kani.logits(config, tensors, golden[ids].tolist())[-1]
        assert np.abs(got - golden[want]).max() < 1e-4


def test_the_golden_is_the_references():
    golden = np.load(FOLDER / "golden.npz")
    want = kani.logits(kani.CONFIG, kani.weights(), golden["ids"], golden["speaker"])
    assert np.abs(want - golden["logits"]).max() < 1e-5 and want.std() > 0.5


@pytest.mark.parametrize("on", ["numpy", "native"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(on, variant):
    """Of prompts of each length: a chunk of prefill, then one token after the other."""
    source, config, tensors = made(**VARIANTS[variant])
    want = kani.logits(config, tensors, IDS, kani.VECTOR)
    one = opened(source, on)
    for end in (*range(len(kani.PROMPT), len(IDS) + 1), 2, 7, 17, 25):
        diff = np.abs(first_logits(one, IDS[:end]) - want[end - 1]).max()
        assert diff < LIMITS[on], f"behind {end} ids: {diff}"
    close(one)


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_bursts_are_the_references_argmax(on):
    source, config, tensors = made()
    one, ids = opened(source, on), list(IDS)
    for token in generated(one, IDS, max_tokens=24)[0]:
        row = kani.logits(config, tensors, ids, kani.VECTOR)[-1]
        assert row[token] > row.max() - 0.02
        ids.append(token)
        if token < kani.AUDIO:   # text behind speech is none of the package's cases
            break
    assert len(ids) > len(IDS)
    close(one)


def test_each_part_matters():
    """Or the tests above would pass without it."""
    want = logits_of({})
    for changes in ({"audio_step": 1.0}, {"alpha_max": 1.0}, {"tokens_per_frame": 2}):
        assert np.abs(logits_of(changes) - want).max() > 1e-2, changes
    other = kani.logits(kani.CONFIG, kani.weights(), IDS, [-x for x in kani.VECTOR])[-1]
    assert np.abs(other - want).max() > 1e-2


def logits_of(changes):
    return kani.logits({**kani.CONFIG, **changes}, kani.weights(), IDS, kani.VECTOR)[-1]


def test_another_speaker_is_not_taken_for_the_one_before():
    """The ids are the same, so what is resident must go."""
    source, config, tensors = made()
    one = opened(source, "numpy")
    found = []
    for vector in (kani.VECTOR, kani.VECTOR[::-1]):
        one.speak_as(struct.pack(f"<{len(vector)}f", *vector))
        want = kani.logits(config, tensors, IDS, vector)[-1]
        found.append(first_logits(one, IDS))
        assert np.abs(found[-1] - want).max() < LIMITS["numpy"]
    assert np.abs(found[0] - found[1]).max() > 1e-2
    close(one)


def test_an_ordinary_lfm2_is_planned_as_ever():
    config = {k: v for k, v in kani.CONFIG.items() if k not in PLAIN}
    plain = compile_model(config).plan.text()
    assert plain == compile_model({**config, "audio_tokens_start": 1, "alpha_min": 7}).plan.text()
    assert "frame_start" not in plain and "frames=" not in plain
    assert "frame_start" in compile_model(kani.CONFIG).plan.text()


def test_the_real_size():
    """Of the published shape: two dispatches a token more than the first Kani-TTS, and little memory."""
    config = json.loads((GOLDENS / "configs" / "lfm2.5-350m.json").read_text())
    config |= {"vocab_size": 80539, "audio_tokens_start": 64410}
    added = {"audio_step": 1.0, "use_learnable_rope": True, "speaker_emb_dim": 128}
    first, second = (inspect(one, quant="affine4-g64", context=4096) for one in (config, config | added))
    assert second["dispatches_per_token"] == first["dispatches_per_token"] + 2
    assert 0.5e6 < second["bytes"]["total"] - first["bytes"]["total"] < 2e6


def test_its_size_is_known_from_the_config():
    source, *_ = made()
    whole = compile_model(source.config, source.tensors).plan.bytes_needed()
    assert fit(kani.CONFIG, budget=UNLIMITED).bytes == whole


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_alphas_in_half_precision(dtype):
    _, config, tensors = made()
    names = [kani.ALPHA.format(i) for i in (1, 3)]
    tensors |= {name: np.float32(1.5) for name in names}   # exact in both
    source = checkpoint(kani.CONFIG, tensors, dict.fromkeys(names, dtype))
    one = opened(source, "numpy")
    want = kani.logits(config, tensors, IDS, kani.VECTOR)[-1]
    assert np.abs(first_logits(one, IDS) - want).max() < LIMITS["numpy"]
    close(one)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("changes, field", [
    ({"audio_step": 0.123456789}, "audio_step"), ({"audio_step": 0}, "audio_step"),
    ({"audio_step": -1.0}, "audio_step"), ({"audio_step": "1"}, "audio_step"),
    ({"audio_step": float("nan")}, "audio_step"), ({"audio_step": 1e9}, "audio_step"),
    ({"use_learnable_rope": 1}, "use_learnable_rope"), ({"alpha_min": "x"}, "alpha_min"),
    ({"alpha_min": 3.0}, "alpha_min"), ({"speaker_emb_dim": 0}, "speaker_emb_dim"),
    ({"speaker_emb_dim": 1 << 40}, "speaker_emb_dim"), ({"tokens_per_frame": 0}, "tokens_per_frame"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type")])
def test_a_config_that_cannot_be_computed_is_refused(changes, field):
    error = refused("E_UNSUPPORTED_CONFIG", lambda: compile_model({**kani.CONFIG, **changes}))
    assert error.facts["field"] == field


@pytest.mark.parametrize("tensor", [kani.ALPHA.format(3), kani.PROJECTION])
def test_a_missing_tensor_is_named(tensor):
    source, _, tensors = made()
    del tensors[tensor]
    source = checkpoint(kani.CONFIG, tensors)
    error = refused("E_MISSING_TENSOR", lambda: compile_model(source.config, source.tensors))
    assert tensor in error.message


@pytest.mark.parametrize("changes, extra", [
    ({}, kani.ALPHA.format(0)), ({"use_learnable_rope": False}, kani.ALPHA.format(1)),
    (PLAIN, kani.PROJECTION)])
def test_a_tensor_that_the_config_does_not_speak_of_is_refused(changes, extra):
    _, config, tensors = made(**changes)
    shape = (kani.HIDDEN, kani.SPEAKER) if extra == kani.PROJECTION else ()
    source = checkpoint(config, tensors | {extra: np.zeros(shape, np.float32)})
    error = refused("E_UNUSED_TENSOR", lambda: compile_model(source.config, source.tensors))
    assert extra in error.message


@pytest.mark.parametrize("name, value, dtype", [
    (kani.ALPHA.format(1), np.zeros(2), "F32"), (kani.ALPHA.format(1), np.float32(np.inf), "F32"),
    (kani.ALPHA.format(1), np.zeros(1), "I32"), (kani.PROJECTION, np.zeros((kani.SPEAKER, kani.HIDDEN)), "F32")])
def test_a_tensor_of_another_form_is_refused(name, value, dtype):
    def load():
        source = checkpoint(kani.CONFIG, kani.weights() | {name: value}, {name: dtype})
        compile_model(source.config, source.tensors)

    assert name in refused("E_UNSUPPORTED_TENSOR", load).message


# ---- prompts -----------------------------------------------------------------------------------

VOICE = {"vocab_size": 80539, "model_type": "lfm2", "audio_step": 1.0, "speaker_emb_dim": 128}


def test_a_prompt_with_a_speaker():
    layout = Layout.of(VOICE)
    assert layout.prompt(Bytes(), "Hi", speaker=True) == [64403, 64407, 1, 10 + 72, 10 + 105, 2, 64404]
    assert layout.prompt(Bytes(), "Hi")[:2] == [64403, 1]
    assert layout.speaker == 128


def test_special_tokens_that_a_text_spells_are_not_said():
    class Spelled(Bytes):
        def encode(self, text, add_special_tokens):
            return [*super().encode(text, add_special_tokens), 64407, 64402, 64411, 64399]

    assert Layout.of(VOICE).prompt(Spelled(), "H") == [64403, 1, 10 + 72, 64399, 2, 64404]


@pytest.mark.parametrize("config, count", [(VOICE, 127), (VOICE, 129), ({"vocab_size": 80539}, 128)])
def test_a_vector_of_another_size_is_refused(config, count):
    error = refused("E_BAD_REQUEST", lambda: Layout.of(config).check_speaker((0.5,) * count))
    assert f"{count} numbers" in error.message
    Layout.of(config).check_speaker(None)
