"""What Kani-TTS 2 adds to its backbone: positions that count by frame, RoPE frequencies scaled by
layer, and a speaker's vector in the prompt. Rules and defaults as in the package kani-tts-2 0.0.5.

A text token's position is the number of tokens before it, a speaker's vector counting as one; the
tokens of a frame are all in one place, and each frame moves on by `audio_step`."""
import math
from dataclasses import dataclass
from fractions import Fraction

from pyengine.formats.hf_config import ROPE_ALPHAS, require
from pyengine.ir.graph import Value
from pyengine.models.blocks.config import optional, refuse

FIELDS = ("audio_step", "use_learnable_rope", "speaker_emb_dim")
ALPHA_TENSOR = "model.learnable_rope_layers.{}.alpha_weight"
SPEAKER_TENSOR = "model.speaker_emb_projection.weight"
AUDIO_START = 64410
PADDING = 3         # the padding id, never part of a text, lies so far before the audio tokens
MOST_SPEAKER = 4096
MOST_STEPS = 64     # parts of a position
MOST_ALPHA = 1000   # times a RoPE frequency
LEAST_WEIGHT = 700  # less than its negative is 0 behind a sigmoid, and overflows inside


@dataclass(frozen=True)
class Voice:
    """`audio`: the first audio token; `frames`: steps of RoPE's tables that a text token and a
    frame take, and tokens of a frame; `alphas` (least, most, {layer: w}) or None; `speaker`
    numbers of a speaker's vector."""
    audio: int
    frames: tuple
    alphas: tuple | None
    speaker: int

    @classmethod
    def of(cls, config):
        """None for a config that names none of FIELDS. Raises `E_UNSUPPORTED_CONFIG`."""
        if all(config.get(field) is None for field in FIELDS):
            return None
        alphas, step = None, _step(config)
        if optional(config, "use_learnable_rope", False, bool):
            alphas = _alphas(config)
        speaker = optional(config, "speaker_emb_dim", 128)
        if speaker > MOST_SPEAKER:
            refuse("speaker_emb_dim", speaker, f"at most {MOST_SPEAKER}")
        frames = (step.denominator, step.numerator, optional(config, "tokens_per_frame", 4))
        return cls(optional(config, "audio_tokens_start", AUDIO_START), frames, alphas, speaker)

    @property
    def token(self):
        """The id in whose place the speaker's vector stands."""
        return self.audio - PADDING

    def rotation(self, b, tables, layer):
        """(name, tables, positions that they cover) of one layer's RoPE; its factor must be among
        the checkpoint's tensors."""
        factor = 1.0
        if self.alphas is not None:
            b.known(ALPHA_TENSOR.format(layer), (), (1,))
            least, most, found = self.alphas
            weight = max(found.get(str(layer), 0.0), -LEAST_WEIGHT)
            factor = least + (most - least) / (1 + math.exp(-weight))
        token, frame, group = self.frames
        scaled = tables.scaled(factor / token)
        return f"model.layers.{layer}.rope", scaled, b.context * max(token, -(-frame // group))

    def begin(self, b, x):
        """Notes where frames begin, and puts the speaker where its token is."""
        b.op("frame_start", b.tokens, audio=self.audio)
        hidden = b.graph.values[x].shape[1]
        weight = b.padded(SPEAKER_TENSOR, hidden, self.speaker, (hidden, self.speaker))
        vector = b.graph.add(Value("speaker", (1, self.speaker), "f32", "io")).name
        b.op("speaker_rows", x, b.tokens, vector, weight, token=self.token)


def _step(config):
    """`audio_step` as an exact fraction."""
    given = optional(config, "audio_step", 1.0, float)
    step = Fraction(given).limit_denominator(MOST_STEPS) if 0 < given <= MOST_STEPS else 0
    if not step or abs(float(step) - given) > 1e-9:
        refuse("audio_step", given, f"over 0, a whole number of parts of 1 to {MOST_STEPS}")
    return step


def _alphas(config):
    least, most = (optional(config, f"alpha_{end}", value, float)
                   for end, value in (("min", 0.1), ("max", 2.0)))
    if not 0 <= least <= most <= MOST_ALPHA:
        refuse("alpha_min", least, f"from 0 to alpha_max, {most}, which is {MOST_ALPHA} at most")
    found = config.get(ROPE_ALPHAS, {})
    if not isinstance(found, dict):
        refuse(ROPE_ALPHAS, str(found)[:80], "numbers by layer")
    return least, most, {layer: require(found, layer, float) for layer in found}
