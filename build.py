#!/usr/bin/env python3
"""Jird's one command. Needs Python 3.11 or later and a network for the first run; nothing else.

    python3 build.py serve [--port 8000] [--host 127.0.0.1]   build the site and serve it
    python3 build.py serve --https                            serve it to tablets and phones too
    python3 build.py build                                    write dist/
    python3 build.py test [--long] [pytest arguments]         run the tests
    python3 build.py fetch [MODEL]                            only bring every asset into the cache
    python3 build.py bench [--make-onnx] [--quick] [...]      compare with other engines (--help)

Each makes what it needs (.venv, .cache, node_modules) and does nothing twice.
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)


def parser():
    p = argparse.ArgumentParser(prog="build.py", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="build the site and serve it")
    serve.add_argument("--port", type=port, default=8000, help="default: 8000")
    serve.add_argument("--host", help="listen here (default: 127.0.0.1; with --https: everywhere)")
    serve.add_argument("--https", action="store_true", help="with a certificate of its own")
    commands.add_parser("build", help="write dist/")
    commands.add_parser("test", help="run the tests; arguments go to pytest", add_help=False)
    fetch = commands.add_parser("fetch", help="bring every asset into the cache")
    fetch.add_argument("models", nargs="*", metavar="MODEL",
                       help="only make these, for the next build too: moonshine-tiny")
    add_bench(commands)
    return p


def add_bench(commands):
    """`bench`: its own options here, those of tests/bench/run.py behind them."""
    bench = commands.add_parser(
        "bench", help="compare with wllama and transformers.js", allow_abbrev=False,
        epilog="Further options go to the runner; python3 tests/bench/run.py --help lists them: "
               "--browser, --pages, --only, --repeats, --contexts, --prefills, --tokens, --limit.")
    bench.add_argument("--name", default="local", help="of the result in docs/bench")
    bench.add_argument("--make-onnx", action="store_true",
                       help="export the model for transformers.js first (installs torch, 3 GB)")
    bench.add_argument("--profile", action="store_true",
                       help="only time each kernel, with the options of tests/bench/speed.py")
    bench.add_argument("--keep-dist", action="store_true", help="measure dist/ as it is")
    bench.add_argument("--pack", action="store_true",
                       help="only write .bench/kit, and .bench/parts to carry it")
    bench.add_argument("--dtype", nargs="+", help="with --pack: the ONNX exports in the parts")
    bench.add_argument("--report", metavar="FILE", help="only publish a result made elsewhere")


def port(text):
    """A TCP port; argparse turns the error into a message."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is not a port (0 to 65535)")
    return value


def parse(argv):
    """(options, arguments of pytest or the benchmark's runner): theirs are not ours to know."""
    if argv[:1] == ["test"]:
        return parser().parse_args(["test"]), argv[1:]
    if argv[:1] == ["bench"]:
        return parser().parse_known_args(argv)
    return parser().parse_args(argv), []


def inside_venv(profile, argv):
    """None when this process runs in a ready venv; else run in one and give the exit status."""
    from app.build import venv
    venv.ensure(profile)
    if venv.inside():
        return None
    command = [str(venv.python()), str(ROOT / "build.py"), *argv]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    return subprocess.run(command).returncode


def run(options, rest):
    """Run a command inside the venv; returns its exit status."""
    from app.build import commands
    if options.command == "serve":
        if options.https:
            commands.serve_https(options.host or "0.0.0.0", options.port)
        else:
            commands.serve(options.host or "127.0.0.1", options.port)
    elif options.command == "test":
        return commands.test(rest)
    elif options.command == "fetch":
        commands.fetch(options.models)
    elif options.command == "bench":
        from app.build import bench
        return bench.command(options, rest)
    else:
        getattr(commands, options.command)()
    return 0


def main(argv):
    if sys.version_info < OLDEST:
        print(f"Jird needs Python 3.11 or later; this is {sys.version.split()[0]}.\n"
              "  Next: install a newer Python and run it in place of python3.", file=sys.stderr)
        return 2
    options, rest = parse(argv)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    from app.build.console import BuildError
    try:
        status = inside_venv("test" if options.command == "test" else "serve", argv)
        return run(options, rest) if status is None else status
    except BuildError as error:
        print(f"\nbuild.py {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
