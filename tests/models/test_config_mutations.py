"""Every field of every family's config with values that no field takes: a coded error, or numbers
that a model can be computed with; and sizes beyond reason, which end before they are planned."""
import copy
import json
import math
import time

import pytest

from pyengine import models
from pyengine.compile import compile_model
from pyengine.errors import EngineError
from pyengine.formats import hf_config
from pyengine.formats.hf_config import LARGEST_FLOAT, ROPE_ALPHAS
from pyengine.models.blocks.rope import RopeTables
from tests.checkpoints import LLAMA3, config
from tests.models.families import GOLDENS

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.7,
        "beta_fast": 32, "beta_slow": 1, "mscale_all_dim": 1.0, "truncate": True}
CONFIGS = {path.parent.name: json.loads(path.read_text())
           for path in sorted(GOLDENS.glob("models-tiny/*/config.json"))}
CONFIGS |= {
    "llama3": config(rope_scaling=LLAMA3), "yarn": config(rope_scaling=YARN),
    "yarn with its factor": config(rope_scaling={**YARN, "attention_factor": 1.5}),
    "linear": config(rope_scaling={"type": "linear", "factor": 2.0}),
    "llama.cpp's factors": config(rope_scaling={"rope_type": "factors", "factors": [1.0] * 8}),
    "a voice": {**CONFIGS["kani_tts_2"], ROPE_ALPHAS: {"1": 0.5}},
    "an adjusted width": {**CONFIGS["lfm2"], "block_auto_adjust_ff_dim": True},
}
GONE = object()
VALUES = (GONE, None, -1, 0, 1, 3, 2**31, 2**63, 10**400, 1e308, math.nan, math.inf, -0.5, 0.5, "x",
          "", [], {}, True, False, [None], {"a": 1}, "\ud800")
SECONDS = 2
# fields that count what a plan holds
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
         "linear_num_value_heads")


def places(value, path=()):
    """The path of each field below `value`."""
    inside = value.items() if isinstance(value, dict) else (
        enumerate(value[:2]) if isinstance(value, list) else ())
    for key, below in inside:
        yield (*path, key)
        yield from places(below, (*path, key))


def changed(whole, path, value):
    found = inner = copy.deepcopy(whole)
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return found


def sound(found):
    """Whether a family's Config has numbers that can be computed with."""
    tables = [one for one in vars(found).values() if isinstance(one, RopeTables)]
    eps = getattr(found, "eps", 1e-5)
    return 0 < eps < 1 and all(
        0 <= f <= LARGEST_FLOAT for table in tables for f in table.frequencies) and all(
        0 < table.size <= LARGEST_FLOAT for table in tables)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_with_every_odd_value(name):
    refused, slowest = 0, 0.0
    for path in places(CONFIGS[name]):
        for value in VALUES:
            config = hf_config.text_config(changed(CONFIGS[name], path, value))
            begun = time.process_time()
            try:
                found = models.find(config.get("model_type")).Config.from_hf(config)
            except EngineError as error:
                json.dumps(error.to_dict())
                refused += 1
            else:
                assert sound(found), (path, value)
            slowest = max(slowest, time.process_time() - begun)
    assert refused > 50 and slowest < SECONDS


@pytest.mark.parametrize("name", ["llama", "gemma3", "lfm2", "qwen2", "qwen3_5_text"])
@pytest.mark.parametrize("size", [10**400, 2**40])
def test_sizes_beyond_reason_are_not_planned(name, size):
    """From a config alone there are no shapes to hold them to: planning would take minutes."""
    for field in set(SIZES) & set(CONFIGS[name]):
        begun = time.process_time()
        with pytest.raises(EngineError) as error:
            compile_model({**CONFIGS[name], field: size}, None, quant="affine4-g64", context=64)
        assert error.value.code == "E_UNSUPPORTED_CONFIG", field
        assert time.process_time() - begun < SECONDS, field


@pytest.mark.parametrize("field, value", [
    ("rms_norm_eps", -1e-5), ("rms_norm_eps", 0), ("rms_norm_eps", 1e30), ("rope_theta", 0.5),
    ("rope_scaling", {"type": "linear", "factor": -2.0}),
    ("rope_scaling", {"type": "linear", "factor": math.nan}),
    ("rope_scaling", {"type": "linear", "factor": True}),
    ("rope_scaling", {**LLAMA3, "high_freq_factor": 0.5}),
    ("rope_scaling", {**LLAMA3, "factor": math.inf}),
    ("rope_scaling", {**YARN, "attention_factor": -1.0}),
    ("rope_scaling", {**YARN, "mscale": math.inf}),
])
def test_numbers_that_would_compute_nonsense(field, value):
    with pytest.raises(EngineError) as error:
        models.find("llama").Config.from_hf(config(**{field: value}))
    assert error.value.code == "E_UNSUPPORTED_CONFIG"


@pytest.mark.parametrize("weight", [-1e4, 1e30])
def test_a_learned_frequency_far_out(weight):
    """A sigmoid's ends, not an overflow."""
    config = {**CONFIGS["kani_tts_2"], ROPE_ALPHAS: {"1": weight}}
    assert compile_model(config, None, quant="keep", context=64).plan
