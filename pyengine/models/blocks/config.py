"""What the configs of decoder families share: shapes, their limits, and which layers slide."""
from dataclasses import dataclass

from pyengine.formats.hf_config import over_zero, refuse, require, rope_parameters
from pyengine.models.blocks.rope import RopeTables

# far beyond published models: a config that lies must not keep the planner busy for hours
MAX_LAYERS = 1024
MAX_HEAD_DIM = 1024
MAX_TAPS = 8
MOST_CONTEXT = 1 << 53  # what a model says of itself costs nothing
SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class Shape:
    """The fields of every decoder; none has a default."""
    hidden: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    tied: bool
    max_context: int


def expect(config, **wanted):
    """Raises `E_UNSUPPORTED_CONFIG` where a field is there, not null, and not the one value that a
    family computes."""
    for field, value in wanted.items():
        if config.get(field) is not None and config[field] != value:
            refuse(field, config[field], value)


def optional(config, field, default, kind=int):
    """A value of `kind` (int: positive), or `default` where the config leaves it out or null."""
    return default if config.get(field) is None else require(config, field, kind)


def shape(config, tied=None):
    """{field: value} of `Shape`. `tied`: what a config that does not say means, None to refuse it.

    Raises `E_UNSUPPORTED_CONFIG` for a missing field and for head counts that do not fit."""
    heads, hidden = require(config, "num_attention_heads"), require(config, "hidden_size")
    kv_heads = optional(config, "num_key_value_heads", heads)
    head_dim = optional(config, "head_dim", hidden // heads)
    if heads % kv_heads or head_dim % 2 or not 2 <= head_dim <= MAX_HEAD_DIM:
        refuse("attention heads", f"{heads} over {kv_heads} of {head_dim}",
               f"a multiple of the KV heads, of an even size up to {MAX_HEAD_DIM}")
    layers = require(config, "num_hidden_layers")
    if layers > MAX_LAYERS:
        refuse("num_hidden_layers", layers, f"at most {MAX_LAYERS}")
    if tied is None or "tie_word_embeddings" in config:
        tied = require(config, "tie_word_embeddings", bool)
    return {
        "hidden": hidden, "width": require(config, "intermediate_size"), "layers": layers,
        "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
        "vocab": require(config, "vocab_size"), "eps": epsilon(config, "rms_norm_eps"),
        "tied": tied, "max_context": require(config, "max_position_embeddings", most=MOST_CONTEXT),
    }


def epsilon(config, field):
    """What a norm adds to a mean of squares. Raises `E_UNSUPPORTED_CONFIG` for what would leave
    nothing of the values, or the root of a negative number."""
    found = over_zero(config, field)
    if found >= 1:
        refuse(field, found, "a number over 0, below 1")
    return found


def rope(config, head_dim, layer_type=None):
    """The rotation tables of heads that rotate whole. Raises `E_UNSUPPORTED_CONFIG` for others."""
    found = rope_parameters(config, layer_type)
    part = found.get("partial_rotary_factor", 1.0)
    if part != 1.0:
        refuse("partial_rotary_factor", part, "1: heads of this family rotate whole")
    if found["rope_type"] == "yarn" and found.get("original_max_position_embeddings") is None:
        found["original_max_position_embeddings"] = require(config, "max_position_embeddings")
    return RopeTables(head_dim, found)


def layer_types(config, layers, known, default=None):
    """The kind of each layer: `layer_types`, else `default(i)`. Raises `E_UNSUPPORTED_CONFIG` for
    another length, a kind not in `known`, and a config that says nothing where nothing follows."""
    kinds = config.get("layer_types")
    if kinds is None:
        if default is None:
            refuse("layer_types", "missing", f"{layers} of {', '.join(known)}")
        return tuple(default(i) for i in range(layers))
    if not isinstance(kinds, list) or len(kinds) != layers:
        size = len(kinds) if isinstance(kinds, list) else type(kinds).__name__
        refuse("layer_types", size, f"a list of {layers}")
    for i, kind in enumerate(kinds):
        if kind not in known:
            refuse(f"layer_types[{i}]", str(kind)[:80], " or ".join(known))
    return tuple(kinds)


def taps_of(config, field):
    """The taps of a causal convolution over positions. Raises `E_UNSUPPORTED_CONFIG`."""
    found = require(config, field)
    if not 2 <= found <= MAX_TAPS:
        refuse(field, found, f"2 to {MAX_TAPS}")
    return found


def windows(config, layers, default):
    """Positions that each layer sees at most, None for all: `sliding_window` where `layer_types`,
    or else `default(i)`, says so. A config that turns windows off, or has none, has no sliding
    layer."""
    on = config.get("use_sliding_window", True) and config.get("sliding_window") is not None
    if not on and config.get("layer_types") is None:
        return (None,) * layers
    kinds = layer_types(config, layers, (FULL, SLIDING), default)
    if SLIDING not in kinds:
        return (None,) * layers
    if not on:
        refuse("sliding_window", config.get("sliding_window"), "the window of the sliding layers")
    window = require(config, "sliding_window")
    return tuple(window if kind == SLIDING else None for kind in kinds)
