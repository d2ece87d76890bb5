"""OpenAI's speech requests checked, voices loaded, and answers formed: for the worker, the API and
the command line alike."""

from dataclasses import dataclass, field

from app import openai_api, settings
from pyengine.errors import EngineError

FORMATS = {"wav": "audio/wav", "pcm": "audio/pcm"}   # 16 bits, mono, at the voice's own rate
SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty")
LOADING = ("device", "quant", "context", "hub")   # what shapes a voice that is loaded
FIELDS = ("model", "codec", "input", "voice", "response_format", "speed", "stream", "instructions",
          "seed", "token", "platform", "memory_gib", *LOADING, *SAMPLING)
MOST_TEXT = 1 << 20    # characters
MOST_NUMBERS, MOST_NUMBER = 4096, 1e6   # of a speaker's vector


@dataclass(frozen=True)
class SpeechRequest:
    """A checked request; `sampling` holds what was given of it, None for the rest; `speaker`: a
    vector of numbers."""

    input: str
    model: str | None = None
    codec: str | None = None
    voice: str | None = None
    response_format: str = "wav"
    stream: bool = False
    sampling: dict = field(default_factory=dict)
    speaker: tuple | None = None


def parse(body):
    """A `speak` body. Raises E_BAD_REQUEST naming the parameter. What a voice here cannot do,
    another speed or instructions, is refused rather than lost."""
    for name in body:
        if name not in FIELDS:
            raise openai_api.bad(name, "given", ", ".join(FIELDS))
    text = _text(body, "input", None)
    if not text or len(text) > MOST_TEXT:
        raise openai_api.bad("input", text if text is None else f"{len(text)} characters",
                             f"text of 1 to {MOST_TEXT} characters")
    form = _text(body, "response_format", "wav")
    if form not in FORMATS:
        raise openai_api.bad("response_format", form, ", ".join(FORMATS))
    if body.get("speed") not in (None, 1):
        raise openai_api.bad("speed", body["speed"], "1: a voice speaks as it was trained to")
    if body.get("instructions"):
        raise openai_api.bad("instructions", "given", "none: this voice takes no instructions")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise openai_api.bad("stream", stream, "true or false")
    voice, speaker = _voice(body)
    return SpeechRequest(text, _text(body, "model", None), _text(body, "codec", None),
                         voice, form, bool(stream), _sampling(body), speaker)


def _text(body, name, default):
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise openai_api.bad(name, value, "text")
    return value


def _voice(body):
    """(the voice's name, a speaker's vector); OpenAI's newer form is {id}, to which `embedding` is
    added. A list is the vector alone."""
    value, vector = body.get("voice"), None
    if isinstance(value, dict):
        if not value or not set(value) <= {"id", "embedding"}:  # a typed array is {"0": ...}
            raise openai_api.bad("voice", value, "a name, a list of numbers or {id, embedding}")
        value, vector = value.get("id"), value.get("embedding")
    elif isinstance(value, list):
        value, vector = None, value
    return _text({"voice": value}, "voice", None), _vector(vector)


def _vector(given):
    if given is None:
        return None
    right = isinstance(given, list) and given and len(given) <= MOST_NUMBERS and all(
        type(one) in (int, float) and abs(one) <= MOST_NUMBER for one in given)
    if not right:
        raise openai_api.bad("voice", given, "a speaker's vector: a list of finite numbers")
    return tuple(map(float, given))


def _sampling(body):
    found = {name: settings.SAMPLING[name].check(body[name])
             for name in SAMPLING if body.get(name) is not None}
    seed = body.get("seed")
    if seed is not None:
        if type(seed) is not int:
            raise openai_api.bad("seed", seed, "an integer")
        found["seed"] = seed % (1 << 32)
    return found


def usage(timing):
    """OpenAI's counts of a `Speaker`'s timing."""
    return {"input_tokens": timing.prompt_tokens, "output_tokens": timing.tokens,
            "total_tokens": timing.prompt_tokens + timing.tokens}


def nbytes(stats):
    """GPU memory of a voice by a `Speaker`'s stats; 0 of None."""
    if not stats:
        return 0
    return stats["codec_bytes"]["total"] + stats["engine"]["bytes"]["total"]


def needs(checkpoint, codec_checkpoint, caps, **options):
    """GPU memory that `load_speaker` will take with these `options`, from the two configs alone.
    Raises what planning them raises."""
    from pyengine.audio.codec import compile_codec
    from pyengine.fit import UNLIMITED, fit

    given = {name: value for name, value in options.items() if name in ("quant", "context", "kv")}
    codec = compile_codec(codec_checkpoint.config, codec_checkpoint.tensors, caps)
    voice = fit(checkpoint.config, budget=UNLIMITED, caps=caps, **given)
    return voice.bytes["total"] + codec.plan.bytes_needed()["total"]


async def load_speaker(checkpoint, codec_checkpoint, device, *, tokenizer, on_progress=None,
                       **options):
    """-> Speaker: the codec and the voice model on one device; `options` are `engine.load`'s.
    Raises what both loads raise, E_UNSUPPORTED_CONFIG, E_NO_TOKENIZER; memory is released then."""
    from pyengine.audio.codec import load_codec
    from pyengine.audio.speaker import Speaker
    from pyengine.engine import load
    from pyengine.models import kani_tts

    if tokenizer is None:
        raise EngineError("E_NO_TOKENIZER", model="The voice model",
                          detail="it has no tokenizer.json")
    codec = await load_codec(codec_checkpoint, device, on_progress)
    try:
        layout = kani_tts.Layout.of(checkpoint.config, codec.config.groups, codec.config.codebook)
        engine = await load(checkpoint, device, tokenizer=tokenizer, on_progress=on_progress,
                            speech=layout.mask, **options)
    except BaseException:
        codec.close()
        raise
    return Speaker(engine, codec, layout, checkpoint.generation_config)
