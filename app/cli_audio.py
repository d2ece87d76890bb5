"""The command line's audio: `transcribe`."""

import time
from contextlib import aclosing

from app import audio, openai_api
from app.cli_files import read_bytes
from app.ears import transcriber_of


def add_commands(commands, add_model_flags):
    """`transcribe` with its flags."""
    command = commands.add_parser("transcribe", help="the text of a recording of speech")
    add_model_flags(command)
    command.add_argument("file", metavar="FILE.wav", help="a WAV file, any rate, any channels")
    command.add_argument("--format", choices=tuple(audio.FORMATS), default="text",
                         help="default: text; verbose_json has times")
    command.add_argument("--words", action="store_true", help="verbose_json: times of words too")
    command.add_argument("--repeat", type=int, default=1, metavar="N",
                         help="transcribe N times; the last one is timed")


async def transcribe(args, open_session):
    """-> the answer in the format asked for; with --json {text, seconds, compute_seconds,
    real_time_factor, segments, stats}."""
    from pyengine.audio.resample import resample
    from pyengine.audio.wav import read_wav
    from pyengine.models.moonshine import RATE

    if args.repeat < 1:
        raise openai_api.bad("--repeat", args.repeat, "a whole number from 1 up")
    times = ("word", "segment") if args.words else ("segment",)
    request = audio.parse({"response_format": args.format, "timestamp_granularities": list(times)})
    samples, rate = read_wav(read_bytes(args.file))
    session = await open_session(args)
    try:
        hears, segments = transcriber_of(session), []
        for _ in range(args.repeat):
            began = time.perf_counter()
            segments = await heard(hears.transcribe(resample(samples, rate, RATE)))
            took = time.perf_counter() - began
        stats = session.engine.stats()
    finally:
        await session.close()
    seconds = len(samples) / rate
    if not args.json:
        print(audio.shown(audio.answer(request, segments, seconds)))
        return None
    rows = [audio.segment_json(i, one, args.words) for i, one in enumerate(segments)]
    return {"text": audio.whole_text(segments), "seconds": seconds, "compute_seconds": took,
            "real_time_factor": took / seconds, "segments": rows, "stats": stats}


async def heard(pieces):
    """[Heard] of a transcription, without the text as it came."""
    async with aclosing(pieces):
        return [piece async for piece in pieces if not isinstance(piece, str)]
