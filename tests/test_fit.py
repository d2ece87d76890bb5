"""`fit`: the plan's bytes at every size and setting, verdicts, the largest context that fits."""

import json
import random

import pytest

from app.catalog_data import OFFERS
from pyengine import fit as module
from pyengine import models
from pyengine.compile import compile_model, compile_within
from pyengine.budget import budget_of
from pyengine.fit import Fit, fit, largest_context
from pyengine.kernels.spec import Caps
from tests.checkpoints import CONFIG, refused
from tests.support import own_seconds

BIG = 1 << 60
OFFERED = [offer for offer in OFFERS if offer.config["model_type"] in models.families()]
SETTINGS = [
    {"quant": "mixed4"},
    {"quant": "affine4-g32", "kv": "f32", "context": 83},
    {"quant": "affine8-g64", "context": 769},
    {"quant": "keep", "context": 1},
    {"encodings": {"matrix": "q4_1", "embedding": "q8_0"}, "context": 2048},
    {"encodings": {"matrix": "q4_0", "embedding": "q6_k"}, "context": 64},
]


def planned(config, encodings=None, quant=None, **settings):
    """The whole plan's bytes, every layer planned."""
    quant = quant or ("keep" if encodings else None)
    model = compile_model(config, quant=quant, encodings=encodings, **settings)
    return model.plan.bytes_needed()


def small(**changes):
    return {**CONFIG, "max_position_embeddings": 8192, **changes}


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("settings", SETTINGS[:5], ids=str)
def test_bytes_are_the_plans(layers, settings):
    config = small(num_hidden_layers=layers, hidden_size=256, intermediate_size=768, vocab_size=769)
    assert fit(config, budget=BIG, **settings).bytes == planned(config, **settings)


def test_the_default_is_smaller_where_the_budget_is():
    config = small(hidden_size=256, vocab_size=5125)
    wanted, less = (planned(config, quant=q)["total"] for q in ("mixed4", "affine4-g64"))
    assert less < wanted
    cases = ((wanted, "mixed4", "tight"), (wanted - 1, "affine4-g64", "tight"),
             (less, "affine4-g64", "tight"), (0, "affine4-g64", "no"))
    for budget, quant, verdict in cases:
        found = fit(config, budget=budget)
        assert (found.quant, found.verdict) == (quant, verdict)
        assert found.bytes == planned(config, quant=quant)
        assert compile_within(budget, config).quant == quant
    assert compile_within(None, config).quant == "mixed4"
    assert compile_within(0, config, quant="mixed4").quant == "mixed4"
    assert fit(config, budget=less, quant="mixed4").verdict == "no"


MLX = {"bits": 4, "group_size": 64, "mode": "affine"}


@pytest.mark.parametrize("exceptions", [
    {}, {"model.embed_tokens": {"bits": 8}}, {"model.layers.3.self_attn.o_proj": False},
    {f"model.layers.{i}.self_attn.v_proj": {"bits": 8, "group_size": 32} for i in (0, 5, 6)},
], ids=str)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_bytes_are_the_plans_for_mlx(exceptions, dtype):
    """Exceptions make layers differ that the rest of the config calls alike."""
    config = small(num_hidden_layers=7, hidden_size=256, torch_dtype=dtype,
                   quantization={**MLX, **exceptions})
    found = fit(config, budget=BIG, context=83).bytes
    assert found == planned(config, context=83)
    plain = small(num_hidden_layers=7, hidden_size=256, torch_dtype=dtype, quantization=MLX)
    assert (found == planned(plain, context=83)) == (not exceptions)


@pytest.mark.parametrize("seed", range(6))
def test_bytes_are_the_plans_for_any_llama(seed):
    dice = random.Random(seed)
    kv_heads = dice.choice([1, 2, 3, 5])
    config = small(
        hidden_size=32 * dice.randint(1, 9),
        intermediate_size=dice.randint(7, 769),
        num_hidden_layers=dice.randint(1, 12),
        num_attention_heads=kv_heads * dice.choice([1, 2, 3]),
        num_key_value_heads=kv_heads,
        head_dim=2 * dice.randint(1, 32),
        vocab_size=dice.randint(83, 5125),
        tie_word_embeddings=dice.random() < 0.5,
    )
    settings = {"context": dice.randint(1, 4096), "kv": dice.choice(["f16", "f32"])}
    assert fit(config, budget=BIG, **settings).bytes == planned(config, **settings)


@pytest.mark.parametrize("offer", OFFERED, ids=lambda offer: offer.id)
def test_bytes_are_the_plans_for_every_offered_model(offer):
    """A family that lands is checked here by itself: its layers must repeat as `fit` believes."""
    caps = Caps(max_binding=1 << 40, max_buffer=1 << 40)
    settings = {"quant": offer.quant, "encodings": offer.encodings, "context": 1024, "caps": caps}
    assert fit(offer.config, budget=BIG, **settings).bytes == planned(offer.config, **settings)


def test_the_default_models_file_is_the_bytes_of_its_row(dist):
    """The row's two encodings give the same sizes as the file's 272 tensors."""
    import asyncio

    from pyengine.formats.checkpoint import open_path

    offer = next(offer for offer in OFFERS if offer.source == "same-origin")
    checkpoint = asyncio.run(open_path(str(dist / "models" / offer.id / offer.files[0][0])))
    try:
        real = compile_model(
            checkpoint.config, checkpoint.tensors, context=2048
        ).plan.bytes_needed()
    finally:
        checkpoint.close()
    row = fit(offer.config, budget=BIG, context=2048, quant=offer.quant, encodings=offer.encodings)
    assert row.bytes == real


def test_verdicts_at_their_edges():
    config = small(num_hidden_layers=7)
    total = fit(config, budget=BIG).bytes["total"]
    loose = int(total / module.TIGHT) + 1
    assert fit(config, budget=loose) == Fit("fits", fit(config, budget=BIG).bytes, 4096, 4096, "",
                                            "mixed4")
    tight = fit(config, budget=loose - 2)
    assert (tight.verdict, tight.largest_context) == ("tight", 4096)
    assert "close to" in tight.reason
    assert fit(config, budget=total).verdict == "tight"
    none = fit(config, budget=total - 1, quant="mixed4")
    assert none.verdict == "no" and none.largest_context == 4096 - 64
    assert "more than" in none.reason and f"{none.largest_context} tokens" in none.reason
    assert json.loads(json.dumps(none.to_dict()))["bytes"]["total"] == total


@pytest.mark.parametrize("kv", ["f16", "f32"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.97])
def test_the_largest_context_fits_and_the_next_does_not(kv, share):
    config = small(num_hidden_layers=7, max_position_embeddings=5125)
    low = planned(config, context=64, kv=kv)["total"]
    high = planned(config, context=5125, kv=kv)["total"]
    budget = int(low + share * (high - low))
    found = largest_context(config, budget=budget, kv=kv)
    assert planned(config, context=found, kv=kv)["total"] <= budget
    assert planned(config, context=min(found + 64, 5125), kv=kv)["total"] > budget
    assert fit(config, budget=budget, kv=kv, context=5125).largest_context == found


def test_a_model_that_fits_at_no_context_and_one_that_fits_at_all():
    config = small()
    assert largest_context(config, budget=planned(config, context=64)["total"] - 1) == 0
    assert largest_context(config, budget=planned(config, context=64)["total"]) == 64
    assert largest_context(config, budget=BIG) == 8192
    assert fit(config, budget=1).largest_context == 0
    assert fit(config, budget=1).reason.endswith("gives a page.")


def test_a_context_under_the_search_step():
    config = small(max_position_embeddings=7)
    assert largest_context(config, budget=BIG) == 7
    assert fit(config, budget=BIG).context == 7


def test_a_binding_that_the_device_does_not_offer_limits_the_context():
    """One layer's keys: 2 heads of 16, two bytes each: 64 bytes a position."""
    config, caps = small(), Caps(max_binding=64 * 7000)
    found = fit(config, budget=BIG, caps=caps, context=8192)
    assert found.verdict == "no" and found.largest_context == 6976
    assert "GPU binding" in found.reason and "6976 tokens" in found.reason
    assert found.bytes == planned(config, context=8192)
    hopeless = fit(config, budget=BIG, caps=Caps(max_buffer=100))
    assert (hopeless.verdict, hopeless.largest_context) == ("no", 0)


def test_what_is_wrong_is_told_as_compile_tells_it():
    cases = [
        ("E_UNSUPPORTED_MODEL", {"model_type": "none"}, {}),
        ("E_UNSUPPORTED_CONFIG", {"hidden_size": None}, {}),
        ("E_UNSUPPORTED_CONFIG", {"num_hidden_layers": "x"}, {}),
        ("E_BAD_REQUEST", {}, {"context": 8193}),
        ("E_BAD_REQUEST", {}, {"kv": "f64"}),
        ("E_BAD_REQUEST", {}, {"quant": "q9"}),
        ("E_UNSUPPORTED_TENSOR", {}, {"encodings": {"matrix": "q2_k", "embedding": "f16"}}),
    ]
    for code, changes, settings in cases:
        refused(code, lambda c=changes, s=settings: fit(small(**c), budget=BIG, **s))


def test_layers_of_several_kinds_are_shortened_by_whole_periods():
    kinds = (["a"] * 3 + ["b"]) * 6
    config = {"num_hidden_layers": 24, "layer_types": kinds, "other": [1, 2]}
    short, times, period, kept = module._shortened(config, 24)
    assert (times, period, kept) == (4, 4, 8)
    assert short == {"num_hidden_layers": 8, "layer_types": kinds[:8], "other": [1, 2]}
    odd = {"num_hidden_layers": 26, "layer_types": ((["s"] * 5 + ["f"]) * 5)[:26]}
    assert module._shortened(odd, 26)[1:] == (2, 6, 14)
    named = {"num_hidden_layers": 24, "full_attention_interval": 4}
    assert module._shortened(named, 24)[1:] == (4, 4, 8)


@pytest.mark.parametrize(
    "fields", [{"full_attn_idxs": [2, 5]}, {"layer_types": ["a", "b", "b"] + ["a"] * 13}]
)
def test_layers_without_a_period_are_all_planned(fields):
    config = {"num_hidden_layers": 16, **fields}
    assert module._shortened(config, 16)[0] is config


def test_budgets():
    gib = 1 << 30
    assert budget_of("ipad") == budget_of("iphone") == budget_of("toaster") == 10**9
    assert budget_of("ipad", device_memory=8, max_buffer=4 * gib) == 10**9
    assert budget_of("desktop") == 2 * gib
    assert budget_of("ipad", max_buffer=256 << 20, chosen_mb=1200.5) == 1_200_500_000
    assert budget_of("desktop", device_memory=2) == gib
    assert (
        budget_of("desktop", device_memory=8) == budget_of("desktop", device_memory=64) == 4 * 10**9
    )
    assert budget_of("desktop", device_memory=8, max_buffer=256 << 20) == 10**9
    assert budget_of("android", device_memory=4) == gib
    assert budget_of("android", device_memory=0.5, max_buffer=gib) == gib // 8


def test_a_verdict_is_quick():
    """Three layers are planned, not thirty; half of the whole plan's time leaves room for noise."""
    config = OFFERED[0].config
    fit(config, budget=BIG, context=100)

    def best(run):
        times = []
        for context in (200, 300, 400):
            began = own_seconds()
            run(context)
            times.append(own_seconds() - began)
        return min(times)

    quick = best(lambda context: fit(config, budget=BIG, context=context))
    whole = best(lambda context: planned(config, context=context))
    assert quick < whole / 2, (quick, whole)
