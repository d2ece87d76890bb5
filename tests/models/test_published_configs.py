"""Configs as published: parameters, dispatches and bytes from the config alone, and the catalogue's
offers of the same models."""
import json

import pytest

from app import catalog
from app.catalog_data import OFFERS
from pyengine.compile import compile_model
from pyengine.engine import inspect
from pyengine.fit import fit
from pyengine.kernels.spec import Caps
from tests.models.families import GOLDENS

GPU = Caps(max_binding=1 << 30, max_buffer=1 << 30)
# parameters as their cards and their sums of shapes give them; a head that is tied counts once
PUBLISHED = {
    "smollm2-360m-instruct": 361_821_120,
    "llama-3.2-1b-instruct": 1_235_814_400,
    "qwen2.5-0.5b-instruct": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "gemma-3-270m-it": 268_098_176,
    "gemma-3-1b-it": 999_885_952,
}


def config_of(name):
    return json.loads((GOLDENS / "configs" / f"{name}.json").read_text())


def parameters(model):
    """Numbers of all weights that the decode step reads, each once."""
    values = model.graphs[0].values.values()
    found = {v.name: v.shape for v in values if v.role == "weight"}
    return sum(rows[0] * (rows[1] if len(rows) == 2 else 1) for rows in found.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_card(name):
    model = compile_model(config_of(name), quant="keep", context=64, caps=GPU)
    assert parameters(model) == PUBLISHED[name]


@pytest.mark.parametrize("caps", [GPU, Caps(), Caps(software=True)], ids=["gpu", "least", "cpu"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_dispatches_of_a_step(name, caps):
    """At most 6 a layer. Beside them embedding, head and two of the greedy tail; where a binding
    holds no more than WebGPU guarantees, the table and the head are cut, and norms stand alone."""
    config = config_of(name)
    found = inspect(config, quant="affine4-g64", context=1024, caps=caps)
    layers = config["num_hidden_layers"]
    assert found["dispatches_per_token"] <= 6 * layers + (6 if caps is GPU else 8)
    assert found["dispatches_per_token"] >= 5 * layers
    assert sum(v for k, v in found["bytes"].items() if k != "total") == found["bytes"]["total"]


# with layers that hold a recurrent state: kinds of layers and what a decoding step of each takes
HYBRID = {"qwen3_5-0.8b": {"linear_attention": 5, "full_attention": 7},
          "lfm2.5-350m": {"conv": 5, "full_attention": 6},
          "lfm2.5-1.2b": {"conv": 5, "full_attention": 6}}


@pytest.mark.parametrize("name", HYBRID)
def test_dispatches_of_a_hybrid_step(name):
    """At most 7 a layer, and beside them embedding, head and two of the greedy tail."""
    config, most = config_of(name), HYBRID[name]
    config = config.get("text_config", config)
    layers = [most[kind] for kind in config["layer_types"]]
    found = inspect(config, quant="affine4-g64", context=1024, caps=GPU)["dispatches_per_token"]
    assert found <= sum(layers) + 4 and max(layers) <= 7


@pytest.mark.parametrize("name", [n for n in PUBLISHED if "gemma" in n])
def test_sliding_layers_do_not_grow_with_the_context(name):
    config = config_of(name)
    sizes = [inspect(config, quant="affine4-g64", context=n, caps=GPU)["bytes"]["kv"]
             for n in (4096, 8192)]
    full = config["num_hidden_layers"] // 6
    assert sizes[1] - sizes[0] == full * 4096 * 2 * 256 * 2  # k and v, one head of 256, f16
    assert fit(config, budget=10**10, quant="affine4-g64", context=8192,
               caps=GPU).bytes["kv"] == sizes[1]


def test_the_catalogue_offers_these_families_with_the_published_facts():
    """An offer has the fields that a planner reads: its plan is the published config's."""
    rows = {row["id"]: row for row in catalog.rows(GPU, 4 * 10**9)}
    offers = {offer.id: offer for offer in OFFERS}
    shared = [name for name in PUBLISHED if name in offers]
    assert len(shared) == 5
    for name in shared:
        plans = [inspect(config, quant="affine4-g64", context=2048, caps=GPU)["plan_text"]
                 for config in (offers[name].config, config_of(name))]
        assert plans[0] == plans[1], name
        assert rows[name]["fit"]["verdict"] == "fits"
