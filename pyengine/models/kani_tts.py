"""Kani-TTS: an LFM2 backbone that answers text with the codes of NanoCodec, four tokens a frame of
speech. Prompt, order of the tokens and way back as in the packages kani-tts 1.0.1 and kani-tts-2
0.0.5; the backbone's graph is `models/lfm2.py`'s, with `blocks/voice.py`."""
from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.models.blocks.config import optional, refuse
from pyengine.models.blocks.voice import AUDIO_START, PADDING, Voice

MODEL_TYPES = ()   # its checkpoints say lfm2
GGUF_ARCHS = ()

# ids behind the text's: audio tokens begin AUDIO behind the number of text ids
START_OF_SPEECH, END_OF_SPEECH, START_OF_HUMAN, END_OF_HUMAN, START_OF_AI = range(1, 6)
AUDIO = 10
END_OF_TEXT = 2
DEFAULT_VOICE = "default"
# what kani-tts draws with; top_k is transformers' own default
SAMPLING = {"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1}
TOP_K = 50
MOST_TOKENS = 3000


@dataclass(frozen=True)
class Layout:
    """Where a voice model's special and audio ids lie: `base` is the number of text ids, audio
    tokens of group g of a frame are `audio + g * codebook` onward. `voices`: names that a prompt
    may begin with; none for a model with one voice. `speaker`: numbers of a speaker's vector, 0 for
    a model that takes none."""
    base: int
    groups: int
    codebook: int
    voices: tuple = ()
    speaker: int = 0

    @classmethod
    def of(cls, config, groups=4, codebook=4032):
        """Of a checkpoint's config and its codec's sizes. Raises `E_UNSUPPORTED_CONFIG` where ids
        do not fit the vocabulary, and what `Voice.of` raises."""
        second = Voice.of(config)
        base = optional(config, "audio_tokens_start", AUDIO_START) - AUDIO
        found = cls(base, groups, codebook, _voices(config), second.speaker if second else 0)
        if optional(config, "tokens_per_frame", groups) != groups:
            refuse("tokens_per_frame", config["tokens_per_frame"], f"{groups}, as the codec has")
        vocab = config.get("vocab_size")
        if base < AUDIO or type(vocab) is not int or vocab < found.audio + groups * codebook:
            refuse("vocab_size", vocab, f"at least {found.audio + groups * codebook}, for the "
                                        f"{groups} x {codebook} audio tokens from {found.audio} on")
        return found

    @property
    def audio(self):
        """The first audio token."""
        return self.base + AUDIO

    @property
    def start(self):
        """The token before the first frame."""
        return self.base + START_OF_SPEECH

    @property
    def end(self):
        """The token behind the last frame."""
        return self.base + END_OF_SPEECH

    @property
    def mask(self):
        """Attributes of the op `speech_mask`."""
        return {"audio": self.audio, "codebook": self.codebook, "groups": self.groups,
                "start": self.start, "end": self.end, "opening": self.base + START_OF_AI}

    def prompt(self, tokenizer, text, voice=None, speaker=False):
        """Ids that ask for `text` to be spoken; the tokenizer adds its own first token. `speaker`:
        with the place of a speaker's vector. Special tokens that a text spells are left out of it.
        Raises `E_BAD_REQUEST` for a voice that the model does not have."""
        name = self.voice(voice)
        spoken = text if name is None else f"{name}: {text}"
        ids = [i for i in tokenizer.encode(spoken, add_special_tokens=True) if i < self.base]
        who = [self.audio - PADDING] if speaker else []
        return [self.base + START_OF_HUMAN, *who, *ids, END_OF_TEXT, self.base + END_OF_HUMAN]

    def check_speaker(self, vector):
        """Raises `E_BAD_REQUEST` for a vector that the model cannot take; None is none."""
        if vector is not None and len(vector) != self.speaker:
            wanted = (f"{self.speaker} of them" if self.speaker
                      else "a name: the model takes no speaker's vector")
            raise EngineError("E_BAD_REQUEST", param="voice", got=f"{len(vector)} numbers",
                              wanted=wanted)

    def voice(self, name=None):
        """The name that a prompt begins with, or None. Raises `E_BAD_REQUEST`."""
        if not self.voices:
            if name not in (None, "", DEFAULT_VOICE):
                raise EngineError("E_BAD_REQUEST", param="voice", got=repr(name)[:80],
                                  wanted=f"'{DEFAULT_VOICE}': the model has one voice")
            return None
        if name in (None, "", DEFAULT_VOICE):
            return self.voices[0]
        if name not in self.voices:
            raise EngineError("E_BAD_REQUEST", param="voice", got=repr(name)[:80],
                              wanted=", ".join(self.voices)[:400])
        return name


def _voices(config):
    """Names of `speaker_settings`, or of the `language_settings` that later checkpoints have."""
    for field, names in (("speaker_settings", "speaker_list"),
                         ("language_settings", "language_tags_list")):
        settings = config.get(field)
        found = settings.get(names) if isinstance(settings, dict) else None
        if isinstance(found, list) and found:
            return tuple(str(name).strip() for name in found)
    return ()


def sampling(generation_config, given=None):
    """Fields of `SamplingParams`: kani-tts's own, a `top_k` that generation_config.json may change,
    and whatever is `given` (not None)."""
    top_k = (generation_config or {}).get("top_k")
    found = {**SAMPLING, "top_k": top_k if type(top_k) is int and top_k >= 0 else TOP_K}
    return found | {name: value for name, value in (given or {}).items() if value is not None}


class Frames:
    """Takes frames out of a stream of ids: `push(ids)` -> [[code of each group]] that are complete.

    Ids before the start of speech are passed over; behind its end nothing counts, and a frame that
    the stream breaks off is not spoken."""

    def __init__(self, layout):
        self._layout, self._frame = layout, []
        self._started = self.ended = False

    def push(self, ids):
        """Raises `E_BAD_SPEECH` for a token that is no code of the group whose turn it is."""
        found, layout = [], self._layout
        for token in ids:
            if self.ended:
                break
            if not self._started:
                self._started = token == layout.start
                continue
            if token == layout.end:
                self.ended = True
                break
            group = len(self._frame)
            code = token - layout.audio - group * layout.codebook
            if not 0 <= code < layout.codebook:
                raise EngineError(
                    "E_BAD_SPEECH", detail=f"token {token} stands where a code of group {group} "
                                           f"belongs, behind {len(found)} frames")
            self._frame.append(code)
            if group == layout.groups - 1:
                found.append(self._frame)
                self._frame = []
        return found
