"""MLX's quantised checkpoints: `X.weight` (u32 codes), `X.scales` and `X.biases` as one TensorRef.

Format: mlx.core.quantize, mode affine, and mlx-lm's `quantization` entry of config.json, which has
`group_size`, `bits` and, by module path, exceptions. Its files name a multimodal model's language
part `language_model.*`, and move the last axis of depthwise convolutions.
"""

from dataclasses import dataclass, replace

from pyengine.errors import EngineError
from pyengine.formats import hf_config
from pyengine.formats.hf_config import refuse
from pyengine.formats.layout import brief
from pyengine.quant.kinds import GROUPS, WeightKind

BITS = (4, 8)
PREFIX = "language_model."
# the gains that mlx-lm adds 1 to: not the delta net's own norm
SHIFTED = (".input_layernorm.weight", ".post_attention_layernorm.weight", "model.norm.weight",
           ".q_norm.weight", ".k_norm.weight")
FLOATS = ("f16", "bf16", "f32")
OPTIONS = ("bits", "group_size", "mode", "quant_method", "linear_class", "quantize_activations")


@dataclass(frozen=True)
class Quantization:
    """The config's `quantization`: (bits, group) of every module, but for `exceptions` {path:
    (bits, group), or None for one that stays as it was}."""

    default: tuple
    exceptions: dict

    @classmethod
    def of(cls, config):
        """None where the config says nothing of a quantisation. Raises `E_UNSUPPORTED_CONFIG` for
        one that is not MLX's affine with 4 or 8 bits."""
        text = hf_config.text_config(config)
        field = "quantization" if text.get("quantization") is not None else "quantization_config"
        found = text.get(field)
        if found is None:
            return None
        if not isinstance(found, dict):
            refuse(field, brief(found), "an object")
        default = _bits_and_group(field, found)  # first: it tells whose quantisation this is
        exceptions = {
            plain(path): _exception(f"{field}.{path[:120]}", value, found)
            for path, value in found.items()
            if isinstance(value, dict) or path not in OPTIONS
        }
        return cls(default, exceptions)

    def of_module(self, path):
        """(bits, group) of a module, None for one that is not quantised."""
        return self.exceptions.get(path, self.default)

    def encoding(self, tensor, columns, dtype):
        """What the file of a config holds for a matrix of `columns`, the rest being `dtype`."""
        chosen = self.of_module(_module(tensor))
        if chosen is None or columns % chosen[1]:
            return dtype
        return WeightKind("affine", *chosen, dtype).name


def plain(name):
    """A tensor's or module's Hugging Face name."""
    return name.removeprefix(PREFIX)


def _module(tensor):
    return tensor.removesuffix(".weight")


def _bits_and_group(field, options):
    """(bits, group) of one object of the config, checked."""
    method = options.get("quant_method")
    if method not in (None, "mlx"):
        refuse(f"{field}.quant_method", brief(method), "MLX's affine quantisation, or none")
    mode = options.get("mode", "affine")
    if mode != "affine":
        refuse(f"{field}.mode", brief(mode), "affine")
    for name, known in (("bits", BITS), ("group_size", GROUPS)):
        value = options.get(name)
        if type(value) is not int or value not in known:
            got = "missing" if value is None else brief(value)
            refuse(f"{field}.{name}", got, " or ".join(map(str, known)))
    return options["bits"], options["group_size"]


def _exception(field, value, defaults):
    if value is False:
        return None
    if value is True:
        value = {}
    if not isinstance(value, dict):
        refuse(field, brief(value), "an object, true or false")
    return _bits_and_group(field, {**defaults, **value})


def join(config, tensors):
    """{name: TensorRef} of a folder -> the same with each quantised matrix as one ref.

    Such a ref has its logical shape, a weight kind's name as encoding, and its `scales` and
    `biases`. Raises `E_UNSUPPORTED_CONFIG`, `E_UNSUPPORTED_TENSOR`, `E_MISSING_TENSOR`."""
    quantization = Quantization.of(config)
    if quantization is None:
        stray = next((n for n in tensors if n.endswith(".scales")), None)
        if stray is not None:
            refuse("quantization", f"missing, but there is {stray[:80]}", "its bits and group")
        return tensors
    named = {plain(name): replace(ref, name=plain(name)) for name, ref in tensors.items()}
    if len(named) != len(tensors):
        raise EngineError("E_BAD_FILE", file="the checkpoint", format="MLX",
                          detail=f"it has tensors with and without {PREFIX} of one name")
    shifted = _norms_are_shifted(named)
    joined = {name: _moved(ref, shifted)
              for name, ref in named.items() if not _belongs(name, named)}
    for name, ref in joined.items():
        if _module(name) + ".scales" in named or ref.encoding == "u32":
            joined[name] = _quantised(ref, named, quantization)
    absent = [path for path in quantization.exceptions if path + ".weight" not in joined]
    if absent:
        refuse(f"quantization.{absent[0][:120]}", "an exception for a module that is not there",
                "modules of this checkpoint")
    return joined


def _belongs(name, named):
    """True for the scales and biases of a weight that is there."""
    base, _, last = name.rpartition(".")
    return last in ("scales", "biases") and base + ".weight" in named


def _norms_are_shifted(named):
    """mlx-lm adds 1 to the gains of families that store gain - 1 when it moves their convolutions;
    Gemma, which has none, keeps its gains."""
    return any(name.endswith("linear_attn.conv1d.weight") and len(ref.shape) == 3
               and ref.shape[2] == 1 for name, ref in named.items())


def _moved(ref, shifted):
    """A convolution (C, K, 1) as (C, 1, K), the same bytes; a gain with its mark."""
    if len(ref.shape) == 3 and ref.shape[2] == 1 and "conv" in ref.name:
        return replace(ref, shape=(ref.shape[0], 1, ref.shape[1]))
    return replace(ref, shifted=shifted and ref.name.endswith(SHIFTED))


def _quantised(ref, named, quantization):
    """The one ref of a quantised matrix, every part of it checked against the others."""
    base = _module(ref.name)
    missing = [f"{base}.{part}" for part in ("scales", "biases") if f"{base}.{part}" not in named]
    if missing:
        raise EngineError("E_MISSING_TENSOR", missing=", ".join(name[:120] for name in missing))
    scales, biases = named[base + ".scales"], named[base + ".biases"]
    chosen = quantization.of_module(base)
    if chosen is None:
        _wrong(ref, "it has scales, but the config says that it is not quantised")
    bits, group = chosen
    if ref.encoding != "u32" or len(ref.shape) != 2 or 0 in ref.shape:
        _wrong(ref, f"its codes are {ref.encoding} {list(ref.shape)}, wanted u32 of two dimensions")
    rows, words = ref.shape
    columns = words * 32 // bits
    for part in (scales, biases):
        if part.encoding not in FLOATS or part.encoding != scales.encoding:
            _wrong(part, f"it is {part.encoding}, wanted f16, bf16 or f32 as its scales are")
        if part.shape != (rows, columns // group) or columns % group:
            _wrong(part, f"its shape is {list(part.shape)}; {rows} rows of {columns} {bits}-bit "
                         f"codes in groups of {group} want [{rows}, {columns / group:g}]")
    kind = WeightKind("affine", bits, group, scales.encoding)
    return replace(ref, shape=(rows, columns), encoding=kind.name, scales=scales, biases=biases)


def _wrong(ref, detail):
    raise EngineError("E_UNSUPPORTED_TENSOR", tensor=ref.name[:120], detail=detail)
