"""The voices that Jird knows by name: licence, source, and the codec that makes samples of their
tokens. A codec has a licence of its own."""

from dataclasses import asdict, dataclass

from pyengine.errors import EngineError

OWN_TERMS = "its own terms: see its page"


@dataclass(frozen=True)
class Codec:
    """A codec on the hub; `nbytes` of its file, about."""

    id: str
    name: str
    license: str
    repo: str
    nbytes: int


@dataclass(frozen=True)
class Voice:
    """A voice on the hub; `nbytes` of its file, about."""

    id: str
    name: str
    license: str
    repo: str
    codec: Codec
    nbytes: int
    languages: tuple = ("en",)


NANOCODEC = Codec(
    "nanocodec-22khz-0.6kbps-12.5fps", "NanoCodec 22 kHz 0.6 kbps", OWN_TERMS,
    # the checkpoint's own tensors as safetensors; NVIDIA's repository holds them as a .nemo archive
    "nineninesix/nemo-nano-codec-22khz-0.6kbps-12.5fps-MLX", 250_000_000)
VOICES = (
    Voice("kani-tts-450m", "Kani-TTS 450M", "Apache-2.0", "nineninesix/kani-tts-450m-0.1-pt",
          NANOCODEC, 740_000_000),
    Voice("kani-tts-2-en", "Kani-TTS 2", OWN_TERMS, "nineninesix/kani-tts-2-en", NANOCODEC,
          800_000_000),
)
DEFAULT = VOICES[0]


def rows():
    """JSON-able rows for pickers; `bytes` of voice and codec are approximate."""
    return [{**asdict(voice), "codec": asdict(voice.codec)} for voice in VOICES]


def sources(model, codec, entries=()):
    """(what the storage takes for the voice, and for its codec) of what a request names; None is
    the default. An id that the site serves is taken as it is. Raises E_BAD_REQUEST where another
    voice's codec is not given."""
    named = DEFAULT if model is None else next((v for v in VOICES if v.id == model), None)
    if named is None and codec is None:
        raise EngineError("E_BAD_REQUEST", param="codec", got="missing",
                          wanted="the codec's address beside a voice that is not in the catalogue")
    known = (NANOCODEC.id, None)
    codec_source = NANOCODEC.repo if codec in known and codec not in entries else codec
    return model if named is None or model in entries else named.repo, codec_source
