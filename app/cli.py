"""The native command line: the same engine as the browser's, for developers, scripts and tests."""

import argparse
import array
import asyncio
import json
import os
import signal
import sys
import traceback

from app import (
    cli_audio, cli_files, cli_speech, grammar_hosts, openai_api, settings, tuning)
from app.session import Outcome, Session, template_of, tokenizer_of
from pyengine.errors import EngineError
from pyengine.laps import Laps
from pyengine.profiler import table

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED = 2, 130, 141
SAMPLING_FLAGS = tuple(name for name in settings.SAMPLING if name != "temperature")


class _Parser(argparse.ArgumentParser):
    """Reports a bad command line as every other error is reported."""

    def error(self, message):
        raise EngineError("E_BAD_REQUEST", param="command line", got=f"wrong ({message})",
                          wanted=f"what {self.prog} --help lists")


def make_parser():
    """The whole command line."""
    parser = _Parser(prog="python -m app.cli", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, text in (
        ("generate", "one answer"),
        ("chat", "a conversation, until an empty line or Ctrl-D"),
    ):
        command = commands.add_parser(name, help=text)
        _add_model_flags(command)
        _add_sampling_flags(command)
        if name == "generate":
            _add_prompt_flags(command)
    profile = commands.add_parser("profile", help="how long each kernel takes, and its bandwidth")
    _add_model_flags(profile)
    profile.add_argument("--program", default="decode", help="decode, or prefill16, prefill128")
    profile.add_argument("--position", type=int, default=64, help="tokens already in the cache")
    profile.add_argument("--repeats", type=int, default=3, help="measurements; the median counts")
    inspect = commands.add_parser(
        "inspect", help="dispatches and bytes of a model; no weights are read"
    )
    source = inspect.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", metavar="FILE", help="a config.json")
    source.add_argument("--model", metavar="PATH", help="a .gguf file or a model folder")
    inspect.add_argument(
        "--caps", default="webgpu-min", metavar="webgpu-min|FILE", help="what the device can do"
    )
    _add_shape_flags(inspect)
    tokenize = commands.add_parser("tokenize", help="token ids of a text")
    tokenize.add_argument("--model", required=True, metavar="PATH")
    tokenize.add_argument("--text", required=True)
    cli_audio.add_commands(commands, _add_model_flags)
    cli_speech.add_commands(commands, _add_model_flags)
    for command in (inspect, tokenize):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_shape_flags(command):
    command.add_argument("--quant", choices=settings.QUANTS)
    command.add_argument("--kv", choices=settings.KV, default="f16")
    command.add_argument("--context", type=int, metavar="N", help=settings.CONTEXT.help)


def _add_model_flags(command):
    command.add_argument(
        "--model", required=True, metavar="PATH", help="a .gguf file or a model folder"
    )
    command.add_argument("--device", choices=("native", "numpy"), default="native")
    command.add_argument("--tune", choices=("auto", "on", "off"), default="auto",
                         help="measure which kernels are fastest here; auto: on a GPU, once")
    command.add_argument("--burst", default="auto", metavar="auto|K", help=settings.BURST.help)
    command.add_argument(
        "--ignore-eos", action="store_true", help="go on after the model's own end"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_shape_flags(command)


def _add_sampling_flags(command):
    command.add_argument("--max-tokens", type=int, metavar="N", help=settings.MAX_TOKENS.help)
    command.add_argument(
        "--temperature", type=float, default=0.0, help="0 (the default here) is greedy"
    )
    for name in SAMPLING_FLAGS:
        row = settings.SAMPLING[name]
        command.add_argument("--" + name.replace("_", "-"), type=row.type, help=row.help)
    command.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )


def _add_prompt_flags(command):
    prompt = command.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", metavar="TEXT", help="text to continue")
    prompt.add_argument(
        "--chat", metavar="TEXT", help="a message to answer, through the model's chat template"
    )
    prompt.add_argument("--ids", metavar="1,2,3", help="token ids to continue")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json-schema", metavar="FILE", help="the answer is JSON of this schema")
    form.add_argument("--regex", metavar="EXPRESSION", help="the answer matches it")
    form.add_argument("--grammar", metavar="FILE", help="the answer matches its EBNF grammar")
    command.add_argument(
        "--logits", action="store_true", help="also the logits that choose the first new token"
    )


def request_of(args, messages=None):
    """The checked Request of the arguments. Raises E_BAD_REQUEST."""
    body = {
        name: getattr(args, name) for name in ("temperature", "max_tokens", "stop", *SAMPLING_FLAGS)
    }
    if messages is None:
        body["response_format"] = cli_files.response_format(args)
    if messages is None and args.chat is not None:
        messages = [{"role": "user", "content": args.chat}]
    if messages is not None:
        return openai_api.parse_chat(dict(body, messages=messages))
    prompt = args.prompt if args.ids is None else _ids(args.ids)
    return openai_api.parse_completion(dict(body, prompt=prompt))


def _ids(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        wanted = "token ids with commas between, such as 1,2,3"
        raise openai_api.bad("--ids", text, wanted) from None


async def _make_device(name):
    if name == "numpy":
        from pyengine.device.numpy_ref import NumpyDevice

        return NumpyDevice()
    from pyengine.device.native import NativeDevice

    try:
        return await NativeDevice.create()
    except EngineError as error:
        if error.code != "E_NO_WEBGPU":
            raise
        raise EngineError("E_NO_ADAPTER", reason=error.facts["reason"]) from None


async def open_session(args):
    """The Session of the arguments' model and device."""
    from pyengine.engine import load
    from pyengine.formats.checkpoint import open_path

    burst = args.burst if args.burst == "auto" else _burst(args.burst)
    given = {"quant": args.quant, "kv": args.kv, "context": args.context, "burst": burst}
    options = settings.load_options(given)
    laps = Laps()
    checkpoint = await open_path(args.model)
    laps.mark("read")
    try:
        tokenizer = tokenizer_of(checkpoint, args.model)
        laps.mark("tokenizer")
        device = await _make_device(args.device)
        laps.mark("boot")
        if tuning.wanted({"on": True, "off": False}.get(args.tune), device.caps):
            options["tuning_cache"] = tuning.FileCache()
        engine = await load(checkpoint, device, tokenizer=tokenizer, laps=laps, **options)
    except BaseException:
        checkpoint.close()
        raise

    async def make_template(checkpoint):
        return template_of(checkpoint)

    name = os.path.basename(args.model.rstrip("/"))
    return Session(engine, name, checkpoint, tokenizer, make_template, device=device,
                   open_grammar=grammar_hosts.NodeHost.open)


def _burst(text):
    try:
        return int(text)
    except ValueError:
        raise openai_api.bad("--burst", text, "auto or a number of tokens") from None


async def generate(args):
    """-> {tokens, text, finish_reason, stats} and, with --logits, first_logits."""
    request = request_of(args)
    session = await open_session(args)
    try:
        outcome = Outcome()
        async for piece in session.generate(request, None, outcome, args.ignore_eos):
            if not args.json:
                print(piece.text, end="", flush=True)
        answer = _answer(session, outcome)
        if args.logits:
            ids = await session.prompt_ids(request)
            logits = await session.engine.first_logits(ids)
            answer["first_logits"] = array.array("f", logits).tolist()
    finally:
        await session.close()
    if not args.json:
        print()
        _print_load(session)
        _print_rates(outcome)
    return answer


def _answer(session, outcome):
    """What --json prints of one answer."""
    return {
        "tokens": outcome.ids,
        "text": outcome.text if session.tokenizer else None,
        "finish_reason": outcome.finish_reason,
        "stats": {**session.engine.stats(), **outcome.timings},
    }


def _print_rates(outcome):
    rate = outcome.timings.get("decode_tps")
    shown = f", {rate:.1f} tokens/s" if rate else ""
    print(f"[{len(outcome.ids)} tokens{shown}, {outcome.finish_reason}]", file=sys.stderr)


async def chat(args):
    """A REPL: a line of stdin is a message; with --json each answer is one JSON line."""
    session = await open_session(args)
    messages = []
    try:
        while line := _ask():
            messages.append({"role": "user", "content": line})
            outcome = Outcome()
            request = request_of(args, messages)
            async for piece in session.generate(request, None, outcome, args.ignore_eos):
                if not args.json:
                    print(piece.text, end="", flush=True)
            messages.append({"role": "assistant", "content": outcome.text})
            if args.json:
                print(json.dumps(_answer(session, outcome)), flush=True)
            else:
                print()
                _print_rates(outcome)
    finally:
        await session.close()


async def profile(args):
    """-> the profiler's report; without --json a line a kernel."""
    session = await open_session(args)
    try:
        report = await session.engine.profile(args.program, args.position, args.repeats)
        if not args.json:
            print(table(report), end="")
            _print_load(session)
        return {**report, "stats": session.engine.stats()}
    finally:
        await session.close()


def _print_load(session):
    parts = session.engine.stats()["load_ms"]
    total = parts.pop("total")
    shown = ", ".join(f"{name} {ms:.0f}" for name, ms in parts.items() if ms >= 1)
    print(f"[loaded in {total:.0f} ms: {shown}]", file=sys.stderr)


def _ask():
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


async def inspect(args):
    """-> {dispatches_per_token, passes_per_token, bytes: {...}, plan_text}"""
    from pyengine import engine

    options = settings.load_options({"quant": args.quant, "kv": args.kv, "context": args.context})
    options["caps"] = None if args.caps == "webgpu-min" else _caps(cli_files.read_json(args.caps))
    if args.config is not None:
        report = engine.inspect(cli_files.read_json(args.config), **options)
    else:
        from pyengine.formats.checkpoint import open_path

        checkpoint = await open_path(args.model)
        try:
            report = engine.inspect(checkpoint.config, checkpoint.tensors, **options)
        finally:
            checkpoint.close()
    if not args.json:
        print(report["plan_text"])
        dispatches, passes = report["dispatches_per_token"], report["passes_per_token"]
        print(f"{dispatches} dispatches and {passes} pass a token")
        for part, count in report["bytes"].items():
            print(f"{part:>12} {count:>15,} bytes")
    return report


def _caps(fields):
    from pyengine.kernels.spec import Caps

    known = Caps.__dataclass_fields__
    for name, value in fields.items():
        if name not in known:
            raise openai_api.bad(f"caps.{name}", value, "one of " + ", ".join(known))
        if type(value) is not known[name].type:
            raise openai_api.bad(
                f"caps.{name}", value, f"a value of type {known[name].type.__name__}"
            )
    return Caps(**fields)


async def tokenize(args):
    """-> {ids, tokens}"""
    from pyengine.formats.checkpoint import open_path

    openai_api.check_text("--text", args.text)
    checkpoint = await open_path(args.model)
    try:
        tokenizer = tokenizer_of(checkpoint, args.model)
    finally:
        checkpoint.close()
    if tokenizer is None:
        raise EngineError("E_NO_TOKENIZER", model=args.model, detail="there is no tokenizer.json")
    ids = tokenizer.encode(args.text, add_special_tokens=True)
    if not args.json:
        print(" ".join(map(str, ids)))
    return {"ids": ids, "tokens": [tokenizer.id_to_token(i) for i in ids]}


async def transcribe(args):
    """As `cli_audio.transcribe`."""
    return await cli_audio.transcribe(args, open_session)


async def speak(args):
    """As `cli_speech.speak`."""
    return await cli_speech.speak(args, _make_device)


COMMANDS = {"generate": generate, "chat": chat, "profile": profile, "inspect": inspect,
            "tokenize": tokenize, "transcribe": transcribe, "speak": speak}


def main(argv=None):
    """Runs one command; returns the exit status: 0, 2 after an error that was reported, or as
    shells count signals: 130 after Ctrl-C, 141 where nobody reads the output."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv
    try:
        args = make_parser().parse_args(argv)
        answer = asyncio.run(COMMANDS[args.command](args))
        if as_json and answer is not None:
            print(json.dumps(answer))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except EngineError as error:
        return _report(error, as_json)
    except ModuleNotFoundError as error:
        return _report(EngineError("E_NO_PACKAGE", package=error.name), as_json)
    except Exception as error:  # a bug: the trace for whoever mends it, the object for scripts
        traceback.print_exc()
        detail = f"{type(error).__name__}: {error}"
        return _report(EngineError("E_INTERNAL", detail=detail), as_json)
    return 0


def _interrupt(signum, frame):
    raise KeyboardInterrupt


def _report(error, as_json):
    if as_json:
        print(json.dumps({"error": error.to_dict()}))
    else:
        print(f"{error.code}: {error.message}\n{error.next_step}", file=sys.stderr)
    return EXIT_ERROR


if __name__ == "__main__":
    # asyncio's own handler ends a task at its next wait, and a line's read or a GPU's call is none
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(main())
