"""OpenAI's transcription requests checked, and their answers formed: for the worker, the API and
the command line alike."""

import json
from dataclasses import dataclass

from app import openai_api
from pyengine.errors import EngineError

FORMATS = {"json": "application/json", "verbose_json": "application/json", "text": "text/plain",
           "srt": "application/x-subrip", "vtt": "text/vtt"}
GRANULARITIES = ("word", "segment")
FIELDS = ("model", "language", "response_format", "timestamp_granularities", "stream", "live",
          "sample_rate", "prompt", "temperature", "platform", "memory_gib", "budget_mb",
          "token", "device", "quant", "kv", "hub")
RATES = (1000, 768_000)
MOST_SECONDS = 4 * 3600
CAPTION_WORDS = 12   # of one caption in srt and vtt


@dataclass(frozen=True)
class TranscriptionRequest:
    """A checked request; `words` and `segments` say which times verbose_json tells."""

    model: str | None = None
    response_format: str = "json"
    stream: bool = False
    live: bool = False
    words: bool = False
    segments: bool = True
    sample_rate: int = 16000


def _of(body, name, kinds, default, wanted):
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool):
        raise openai_api.bad(name, value, wanted)
    return value


def parse(body):
    """A `transcribe` body. Raises E_BAD_REQUEST. The model hears English only; a `prompt` and a
    `temperature` other than 0 would be lost, and are refused."""
    for name in body:
        if name not in FIELDS:
            raise openai_api.bad(name, "given", ", ".join(FIELDS))
    language = _of(body, "language", str, "en", "a language's code")
    if language.lower().split("-")[0] not in ("en", "english"):
        raise openai_api.bad("language", language, "en: the model hears English")
    if body.get("prompt"):
        raise openai_api.bad("prompt", "given", "none: this model takes no prompt")
    if body.get("temperature"):
        raise openai_api.bad("temperature", body["temperature"], "0: transcripts are greedy")
    form = _of(body, "response_format", str, "json", ", ".join(FORMATS))
    if form not in FORMATS:
        raise openai_api.bad("response_format", form, ", ".join(FORMATS))
    times = _of(body, "timestamp_granularities", list, None, "a list of word, segment")
    if times is not None and not set(map(str, times)) <= set(GRANULARITIES):
        raise openai_api.bad("timestamp_granularities", times, "a list of word, segment")
    rate = _of(body, "sample_rate", int, 16000, "samples a second")
    if not RATES[0] <= rate <= RATES[1]:
        raise openai_api.bad("sample_rate", rate, f"{RATES[0]} to {RATES[1]}")
    stream = _of(body, "stream", bool, False, "true or false")
    live = _of(body, "live", bool, False, "true or false")
    if stream and form not in ("json", "text"):
        raise openai_api.bad("stream", True, "response_format json or text")
    model = _of(body, "model", str, None, "a model's id")
    return TranscriptionRequest(model, form, stream, live, "word" in (times or ()),
                                times is None or "segment" in times, rate)


def to_samples(data, rate):
    """f32 bytes at `rate` as mono samples at the model's. Raises E_BAD_AUDIO."""
    from pyengine.audio.resample import resample
    from pyengine.audio.wav import checked
    from pyengine.lazy import np
    from pyengine.models.moonshine import RATE

    if len(data) % 4:
        raise EngineError("E_BAD_AUDIO", detail="its bytes are no whole samples of 4 bytes")
    samples = checked(np.frombuffer(data, "<f4"))
    if len(samples) > MOST_SECONDS * rate:
        hours = MOST_SECONDS // 3600
        raise EngineError("E_BAD_AUDIO", detail=f"it is longer than {hours} hours")
    return resample(samples, rate, RATE)


# ---- answers -------------------------------------------------------------------------------------


def segment_json(number, heard, words=True):
    """A segment of verbose_json, and of a live answer."""
    row = {"id": number, "start": round(heard.start, 3), "end": round(heard.end, 3),
           "text": heard.text, "finish_reason": heard.finish_reason}
    if words:
        row["words"] = words_json(heard)
    return row


def words_json(heard):
    return [{"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3)}
            for w in heard.words]


def whole_text(segments):
    return " ".join(heard.text for heard in segments if heard.text)


def answer(request, segments, duration):
    """The body of `segments` ([Heard]): a dict, or for text, srt and vtt
    {"body", "content_type"}."""
    form, text = request.response_format, whole_text(segments)
    if form == "json":
        return {"text": text}
    if form == "verbose_json":
        found = {"task": "transcribe", "language": "english", "duration": round(duration, 3),
                 "text": text}
        if request.segments:
            found["segments"] = [segment_json(i, one, False) for i, one in enumerate(segments)]
        if request.words:
            found["words"] = [word for one in segments for word in words_json(one)]
        return found
    body = {"text": lambda: text + "\n", "srt": lambda: captions(segments, ",", True),
            "vtt": lambda: "WEBVTT\n\n" + captions(segments, ".", False)}[form]()
    return {"body": body, "content_type": FORMATS[form] + "; charset=utf-8"}


def captions(segments, point, numbered):
    """Captions of up to CAPTION_WORDS words, that end with a sentence where one ends."""
    rows, line = [], []
    for heard in segments:
        for word in heard.words:
            line.append(word)
            if len(line) == CAPTION_WORDS or word.word[-1] in ".?!" or word is heard.words[-1]:
                rows.append(line)
                line = []
    found = []
    for i, row in enumerate(rows, 1):
        times = f"{stamp(row[0].start, point)} --> {stamp(row[-1].end, point)}"
        head = [str(i)] if numbered else []
        found.append("\n".join([*head, times, " ".join(w.word for w in row)]) + "\n")
    return "\n".join(found)


def stamp(seconds, point):
    """01:02:03,450 (srt) or 01:02:03.450 (vtt)."""
    ms = round(1000 * seconds)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def live_answer(segments, consumed, rate_ratio=1.0):
    """What a session hears so far; `consumed` samples of it need not be sent again."""
    rows = [{**segment_json(i, one), "closed": one.closed} for i, one in enumerate(segments)]
    return {"segments": rows, "consumed": int(consumed * rate_ratio), "text": whole_text(segments)}


def delta(text):
    return {"type": "transcript.text.delta", "delta": text}


def done(segments):
    return {"type": "transcript.text.done", "text": whole_text(segments)}


def shown(value):
    """What the command line prints of an answer without --json."""
    if "body" in value:
        return value["body"].rstrip("\n")
    return value["text"] if set(value) == {"text"} else json.dumps(value, ensure_ascii=False)
