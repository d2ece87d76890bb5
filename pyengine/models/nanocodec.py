"""NanoCodec's decoder (Casanova et al. 2025): four FSQ codes a frame to samples, through a causal
HiFi-GAN. Tensors are named as NVIDIA NeMo names them, with weight norms or without."""
from dataclasses import dataclass
from math import prod

from pyengine.formats.hf_config import require
from pyengine.ir.graph import Value
from pyengine.models.blocks.config import expect, refuse

MODEL_TYPES = ()            # it speaks no text: pyengine/audio/codec.py plans it
CODEC_TYPES = ("nanocodec",)
GGUF_ARCHS = ()

# torch's names of a weight norm's parts, newer and older
RENAMES = ((r"(.*)\.parametrizations\.weight\.original0$", r"\1.weight_g"),
           (r"(.*)\.parametrizations\.weight\.original1$", r"\1.weight_v"))
DROPPED = {r"audio_encoder\..*": "speech is only made here",
           r"vector_quantizer\..*": "its numbers follow from the config's levels",
           r"discriminator\..*": "only for training", r".*loss.*": "only for training"}
MOST = 4096   # of any size: a config that lies must not keep the planner busy


@dataclass(frozen=True)
class Config:
    """`levels` of a code's digits, `groups` codes a frame, `up` sampling factors; `kernels` and
    `dilations` of the residual blocks."""
    sample_rate: int
    levels: tuple
    groups: int
    base: int
    up: tuple
    in_taps: int
    out_taps: int
    kernels: tuple
    dilations: tuple

    @property
    def codebook(self):
        """Codes of one group."""
        return prod(self.levels)

    @property
    def frame(self):
        """Samples of a frame."""
        return prod(self.up)

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        decoder = require_object(config, "decoder_config")
        quantizer = require_object(config, "quantizer_config")
        expect(decoder, activation="half_snake", output_activation="clamp", pad_mode="zeros",
               n_groups_equal_to_out_channels=True)
        levels = sizes(quantizer, "num_levels_per_group")
        if len(levels) != 4 or min(levels) < 2:
            refuse("num_levels_per_group", list(levels), "four of 2 or more")
        groups, up = require(quantizer, "num_groups"), sizes(decoder, "up_sample_rates")
        base = require(decoder, "base_channels")
        if require(decoder, "input_dim") != 4 * groups:
            refuse("input_dim", decoder["input_dim"], f"{4 * groups}: four digits a code")
        if base % 2 ** len(up) or base > MOST:
            refuse("base_channels", base, f"at most {MOST}, halved {len(up)} times")
        kernels = sizes(decoder, "resblock_kernel_sizes", (3, 7, 11))
        dilations = sizes(decoder, "resblock_dilation_sizes", (1, 3, 5))
        if min(kernels) < 2:
            refuse("resblock_kernel_sizes", list(kernels), "2 or more each")
        (in_taps,), (out_taps,) = (sizes(decoder, f"{end}_kernel_size", (taps,))
                                   for end, taps in (("in", 7), ("out", 3)))
        return cls(require(config, "sample_rate"), levels, groups, base, up, in_taps, out_taps,
                   kernels, dilations)


def require_object(config, field):
    """config[field], an object. Raises `E_UNSUPPORTED_CONFIG`."""
    if not isinstance(config.get(field), dict):
        refuse(field, type(config.get(field)).__name__, "an object")
    return config[field]


def sizes(config, field, default=None):
    """A list of positive whole numbers (or one of them) as a tuple. A `default` is what NeMo's
    class has, which published configs leave out; the tensors' shapes are held to it."""
    value = config.get(field, default)
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not 0 < len(found) <= 8 or not all(type(v) is int and 0 < v <= MOST for v in found):
        refuse(field, str(value)[:80], "positive whole numbers")
    return found


class Decoder:
    """Builds programs on a Builder `b` of `b.rows` frames. `normed`: names of the convolutions that
    a checkpoint holds with weight norms (length and direction apart)."""

    def __init__(self, cfg, b, normed=frozenset()):
        self.cfg, self.b, self.normed = cfg, b, normed

    def _kernel(self, name, out, channels, taps):
        weight = name + (".weight_v" if name in self.normed else ".weight")
        return self.b.kernel(weight, out, channels, taps)

    def _up_kernel(self, name, channels, stride):
        weight = name + (".weight_v" if name in self.normed else ".weight")
        return self.b.padded(weight, channels, 2 * stride, (channels, 1, 2 * stride))

    def _alpha(self, name, channels):
        snake = channels // 2
        return self.b.vector_of(name + ".activation.snake_act.alpha", snake, (1, snake, 1))

    def _conv(self, op, x, name, channels, out, taps, rate, *more, snake=None, dilation=1, **attrs):
        """One of the causal convolutions of `ir/codec_ops.py`."""
        b = self.b
        alpha = () if snake is None else (self._alpha(snake, channels),)
        kernel = self._kernel(name, out, channels, taps)
        offsets = b.padded(name + ".bias", 1, out, (out,))
        wide = b.graph.values[x].shape[1]
        past = b.recurrent(name + ".past", (2, (taps - 1) * dilation, wide))
        return b.op(op, x, *alpha, kernel, offsets, *more, past, taps=taps, dilation=dilation,
                    rate=rate, **attrs)

    def _up(self, x, i, channels, rate):
        b, stride = self.b, self.cfg.up[i]
        name = f"audio_decoder.up_sample_conv_layers.{i}.conv"
        alpha = self._alpha(f"audio_decoder.activations.{i}", channels)
        kernel = self._up_kernel(name, channels, stride)
        offsets = b.padded(name + ".bias", 1, channels // 2, (channels // 2,))
        past = b.recurrent(name + ".past", (2, 1, b.graph.values[x].shape[1]))
        return b.op("snake_up", x, alpha, kernel, offsets, past, channels=channels, stride=stride,
                    rate=rate)

    def _residual(self, x, i, channels, rate):
        """The mean of one branch of residual blocks a kernel size."""
        cfg, acc = self.cfg, None
        for k, taps in enumerate(cfg.kernels):
            y = x
            for d, dilation in enumerate(cfg.dilations):
                name = f"audio_decoder.res_layers.{i}.res_blocks.{k}.res_blocks.{d}."
                h = self._conv("snake_conv", y, name + "input_conv.conv", channels, channels, taps,
                               rate, snake=name + "input_activation", dilation=dilation)
                last = d == len(cfg.dilations) - 1
                op, more, attrs = "snake_conv_add", (y,), {}
                if last and acc is not None:
                    op, more = "snake_conv_into", (y, acc)
                    attrs = {"count": len(cfg.kernels) if k == len(cfg.kernels) - 1 else 1}
                y = self._conv(op, h, name + "skip_conv.conv", channels, channels, taps, rate,
                               *more, snake=name + "skip_activation", **attrs)
            acc = y if acc is None else acc
        return acc

    def build(self):
        """`codes` u32 (frames, groups) -> the io value `audio` (frames * frame, 1)."""
        cfg, b = self.cfg, self.b
        codes = b.graph.add(Value("codes", (b.rows, cfg.groups), "u32", "io")).name
        z = b.op("fsq_dequant", codes, levels=cfg.levels)
        x = self._conv("causal_conv", z, "audio_decoder.pre_conv.conv", 4 * cfg.groups, cfg.base,
                       cfg.in_taps, 1)
        channels, rate = cfg.base, 1
        for i, stride in enumerate(cfg.up):
            x = self._up(x, i, channels, rate)
            channels, rate = channels // 2, rate * stride
            x = b.mark(f"stage {i}", self._residual(x, i, channels, rate))
        audio = b.graph.add(Value("audio", (b.rows * cfg.frame, 1), "f32", "io")).name
        return self._conv("snake_conv_clamp", x, "audio_decoder.post_conv.conv", channels, 1,
                          cfg.out_taps, rate, snake="audio_decoder.post_activation", into=audio)

    def norms(self):
        """What runs once after the upload: each kernel with a weight norm becomes itself."""
        for name, out, channels, taps in self._shapes():
            if name not in self.normed:
                continue
            up = taps is None
            kernel = (self._up_kernel(name, channels, out) if up
                      else self._kernel(name, out, channels, taps))
            units = channels if up else out
            gains = self.b.vector_of(name + ".weight_g", units, (units, 1, 1))
            self.b.op("weight_norm", kernel, gains, by="rows" if up else "columns")

    def _shapes(self):
        """(name, outputs, channels, taps) of every convolution; of an upsampling one (name, stride,
        channels, None)."""
        cfg, channels = self.cfg, self.cfg.base
        yield "audio_decoder.pre_conv.conv", channels, 4 * cfg.groups, cfg.in_taps
        for i, stride in enumerate(cfg.up):
            yield f"audio_decoder.up_sample_conv_layers.{i}.conv", stride, channels, None
            channels //= 2
            for k, taps in enumerate(cfg.kernels):
                for d in range(len(cfg.dilations)):
                    name = f"audio_decoder.res_layers.{i}.res_blocks.{k}.res_blocks.{d}."
                    yield name + "input_conv.conv", channels, channels, taps
                    yield name + "skip_conv.conv", channels, channels, taps
        yield "audio_decoder.post_conv.conv", 1, channels, cfg.out_taps
