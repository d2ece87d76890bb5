"""Both tokenizer back ends for the tests: the Rust library, and pwa_shell/tokenizer.js in Node."""

import functools
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer

from pyengine.text.tokenizer import JsBackend, open_tokenizer

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens" / "text"
SCRIPTS = ("tokenizer.js", "tokenizer_rules.js", "tokenizer_models.js", "unicode_tables.js")
KINDS = ("bytelevel_bpe_qwen", "spm_bpe_bytefallback_gemma", "unigram", "wordpiece", "smollm2")


@functools.cache
def tokenizer_json(kind):
    return gzip.decompress((GOLDENS / f"{kind}.tokenizer.json.gz").read_bytes()).decode()


@functools.cache
def native(kind):
    return open_tokenizer(tokenizer_json(kind))


@functools.cache
def rust(kind):
    """The Rust library itself: the oracle of decoding."""
    return RustTokenizer.from_str(tokenizer_json(kind))


class _Array(list):
    """A typed array as Pyodide hands it over: `to_py` once, then `destroy`."""

    def to_py(self):
        return list(self)

    def destroy(self):
        self.clear()


class NodeTokenizer:
    """The object that `createTokenizer` makes, living in a Node process."""

    def __init__(self, process, text, config="{}"):
        self._process = process
        facts = self._ask({"open": text, "config": config})
        self.vocabSize, self.decoderJson = facts["vocabSize"], facts["decoderJson"]
        self.specialIds = _Array(facts["specialIds"])

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def encode(self, text, add_special):
        return _Array(self._ask({"call": "encode", "args": [text, add_special]})["value"])

    def tokenToId(self, token):
        return self._ask({"call": "tokenToId", "args": [token]}).get("value")

    def idToToken(self, token_id):
        return self._ask({"call": "idToToken", "args": [token_id]}).get("value")


def _library():
    """The npm package's module, where build.py installs it or on NODE_PATH."""
    folders = [
        str(ROOT / "pwa_shell" / "node_modules"),
        *os.environ.get("NODE_PATH", "").split(os.pathsep),
    ]
    found = [
        Path(folder) / "@huggingface/tokenizers/dist/tokenizers.mjs" for folder in folders if folder
    ]
    return next((path for path in found if path.exists()), None)


def start_node(*options):
    """(Node process with `options`, temporary folder) with tokenizer.js over its library; skips when
    either is absent."""
    node, library = shutil.which("node"), _library()
    if node is None:
        pytest.skip("node is not installed")
    if library is None:
        pytest.skip("the npm package @huggingface/tokenizers is not installed: run build.py build")
    folder = tempfile.TemporaryDirectory()
    page = Path(folder.name)
    (page / "vendor").mkdir()
    (page / "package.json").write_text('{"type": "module"}')
    for name in SCRIPTS:
        shutil.copy(ROOT / "pwa_shell" / name, page / name)
    shutil.copy(library, page / "vendor" / "tokenizers.js")
    command = [
        node,
        *options,
        str(Path(__file__).with_name("tokenizer_server.mjs")),
        str(page / "tokenizer.js"),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return process, folder


def in_node(process, text, config=None):
    """A `Tokenizer` over `JsBackend` over the process."""
    made = json.dumps(config or {})
    return open_tokenizer(
        text, config, lambda source: JsBackend(NodeTokenizer(process, source, made))
    )
