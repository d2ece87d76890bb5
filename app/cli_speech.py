"""The command line's voice: `speak`."""

from app import settings, speech
from app.cli_files import check_writable, read_json
from app.session import tokenizer_of
from pyengine.errors import EngineError


def add_commands(commands, add_model_flags):
    """`speak` with its flags."""
    command = commands.add_parser("speak", help="text as speech, in a WAV file")
    add_model_flags(command)
    command.add_argument("--codec", required=True, metavar="PATH", help="the codec's folder")
    command.add_argument("--text", required=True, help="what to say")
    command.add_argument("--out", required=True, metavar="FILE.wav", help="where it is written")
    command.add_argument("--voice", help="one of the model's voices; default: its first")
    command.add_argument("--speaker", metavar="FILE.json", help="a speaker's vector: a list")
    for name in (*speech.SAMPLING, "seed"):
        row = settings.SAMPLING[name]
        command.add_argument("--" + name.replace("_", "-"), type=row.type, help=row.help)


async def open_speaker(args, make_device):
    """(Speaker, what to close behind it) of the arguments' folders."""
    from pyengine.formats.checkpoint import open_path

    given = {"quant": args.quant, "kv": args.kv, "context": args.context}
    options = settings.load_options(given)
    opened = [await open_path(args.model)]
    try:
        opened.append(await open_path(args.codec))
        opened.append(await make_device(args.device))
        speaker = await speech.load_speaker(
            *opened, tokenizer=tokenizer_of(opened[0], args.model), **options)
    except BaseException:
        _close(opened)
        raise
    return speaker, opened


def _close(opened):
    for one in reversed(opened):
        one.close()


async def speak(args, make_device):
    """-> {file, sample_rate, seconds, compute_seconds, ...}: what `Speaker.stats` says."""
    from pyengine.audio.wav import write_wav
    from pyengine.lazy import np

    check_writable(args.out)
    voice = {"id": args.voice, "embedding": args.speaker and read_json(args.speaker, list)}
    body = {"input": args.text, "voice": voice, "seed": args.seed}
    body |= {name: getattr(args, name) for name in speech.SAMPLING}
    request = speech.parse({name: value for name, value in body.items() if value is not None})
    speaker, opened = await open_speaker(args, make_device)
    try:
        pieces = [piece async for piece in speaker.speak(
            request.input, voice=request.voice, speaker=request.speaker,
            sampling=request.sampling)]
        report = {"sample_rate": speaker.sample_rate, "voices": list(speaker.voices),
                  "broken_off": sum(not piece.complete for piece in pieces), **speaker.stats()}
    finally:
        await speaker.close()
        _close(opened)
    samples = np.frombuffer(b"".join(piece.samples for piece in pieces), "<f4")
    _write(args.out, write_wav(samples, report["sample_rate"]))
    if not args.json:
        print(f"{report['audio_seconds']:.1f} s of speech in {args.out}, made in "
              f"{report['seconds']:.1f} s; the first after {report['first_audio_ms']:.0f} ms")
    return {"file": args.out, **report}


def _write(path, data):
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise EngineError("E_NO_FILE", path=path, detail=error.strerror or str(error)) from None
