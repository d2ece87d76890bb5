"""Accessors for Hugging Face configs in both dialects (transformers 4.x and 5).

A field that changes the maths has no default here: missing, it raises E_UNSUPPORTED_CONFIG.
"""

from pyengine.errors import EngineError
from pyengine.formats.layout import brief

ROPE_ALPHAS = "rope_alpha_weights"  # {layer: number}: formats/alphas.py
LARGEST = 2**31 - 1  # of whole numbers: a config that lies must not keep the planner busy
LARGEST_FLOAT = 2.0**100  # sums and products of such numbers are finite in f32


def refuse(field, got, wanted):
    """Raises E_UNSUPPORTED_CONFIG for a field of a config."""
    raise EngineError("E_UNSUPPORTED_CONFIG", field=field, got=got, wanted=wanted)


def require(config, field, kind=int, most=LARGEST):
    """config[field] of type `kind` (int: from 1 to `most`; float: LARGEST_FLOAT at most, either
    way), else E_UNSUPPORTED_CONFIG."""
    value = config.get(field)
    if kind is float and type(value) is int and abs(value) <= LARGEST_FLOAT:
        value = float(value)
    wrong = type(value) is not kind or kind is int and not 0 < value <= most
    if wrong or kind is float and not abs(value) <= LARGEST_FLOAT:
        wanted = {
            int: f"a whole number from 1 to {most}",
            float: "a number",
            str: "a string",
            bool: "true or false",
            list: "a list",
        }[kind]
        refuse(field, "missing" if value is None else brief(value), wanted)
    return value


def over_zero(config, field):
    """config[field], a number over 0, as float. Raises E_UNSUPPORTED_CONFIG."""
    value = require(config, field, float)
    if not value > 0:
        refuse(field, brief(value), "a number over 0")
    return value


def text_config(config):
    """The language model's config: a multimodal one's `text_config`, else the config itself.

    Top-level fields that describe the whole checkpoint are carried over where it lacks them.
    """
    nested = config.get("text_config")
    if not isinstance(nested, dict):
        return config
    carried = (
        "tie_word_embeddings",
        "dtype",
        "torch_dtype",
        "quantization",
        "quantization_config",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    )
    return {**{key: config[key] for key in carried if key in config}, **nested}


def dtype(config):
    """The dtype the checkpoint was saved in ("bfloat16"), or None; informative only."""
    return config.get("dtype") or config.get("torch_dtype")


def rope_parameters(config, layer_type=None):
    """{"rope_type", "rope_theta", and whatever else the rule needs} of either dialect.

    transformers 5: `rope_parameters`, possibly one per layer type; 4.x: top-level `rope_theta` with
    `rope_scaling` (`type` or `rope_type`). `partial_rotary_factor` is there only if the config says
    it.
    """
    parameters = config.get("rope_parameters")
    if (
        isinstance(parameters, dict)
        and layer_type is not None
        and isinstance(parameters.get(layer_type), dict)
    ):
        parameters = parameters[layer_type]
    if not isinstance(parameters, dict):
        parameters = config.get("rope_scaling") or {}
        if not isinstance(parameters, dict):
            refuse("rope_scaling", brief(parameters), "an object or null")
    merged = {key: value for key, value in parameters.items() if key != "type"}
    merged["rope_type"] = parameters.get("rope_type", parameters.get("type", "default"))
    for field in ("rope_theta", "partial_rotary_factor"):
        if field not in merged and config.get(field) is not None:
            merged[field] = config[field]
    merged["rope_theta"] = require(merged, "rope_theta", float)
    if "partial_rotary_factor" in merged:
        merged["partial_rotary_factor"] = require(merged, "partial_rotary_factor", float)
    return merged
