"""Token strings to text, one token at a time, exactly as the decoder of a tokenizer.json does it at
once.

Both back ends decode here, so that streamed, one-shot, native and browser text cannot differ.
Source of the rules: the `decoders` of Hugging Face's `tokenizers` (ByteLevel, Metaspace, WordPiece,
BPEDecoder, Replace, ByteFallback, Fuse, Strip, Sequence).
"""

import codecs
import re

from pyengine.errors import EngineError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_of_char():
    """GPT-2's byte alphabet as {character: byte}: printable Latin-1 stands for itself, the rest
    follow U+0100."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in set(shown)]
    return {chr(b): b for b in shown} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_BYTE_OF_CHAR = byte_of_char()


def byte_level_bytes(token):
    """Bytes of a byte-level token; a token outside the alphabet (an added one) stands for its own
    UTF-8."""
    try:
        return bytes([_BYTE_OF_CHAR[c] for c in token])
    except KeyError:
        return token.encode("utf-8", "surrogatepass")


class _Stage:
    """`push(token) -> [text]` for what is certain now, `flush() -> [text]` for what was held at the
    end."""

    def flush(self):
        return []


class _NoDecoder(_Stage):
    def __init__(self, continues):
        self._first = not continues

    def push(self, token):
        text = token if self._first else " " + token
        self._first = False
        return [text]


class _ByteLevel(_Stage):
    def __init__(self):
        # Replaces each maximal invalid part by one U+FFFD, as Rust's from_utf8_lossy does.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token):
        return [self._utf8.decode(byte_level_bytes(token))]

    def flush(self):
        return [self._utf8.decode(b"", True)]


class _Metaspace(_Stage):
    def __init__(self, config, continues):
        self._mark = config.get("replacement", "▁")
        self._strips = config.get("prepend_scheme", "always") != "never" and not continues

    def push(self, token):
        text = token.replace(self._mark, "" if self._strips else " ")
        self._strips = False
        return [text]


class _WordPiece(_Stage):
    _CLEANUP = (
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    )

    def __init__(self, config, continues):
        self._prefix = config.get("prefix", "##")
        self._cleanup = self._CLEANUP if config.get("cleanup", True) else ()
        self._first = not continues

    def push(self, token):
        if not self._first:
            token = (
                token.replace(self._prefix, "", 1)
                if token.startswith(self._prefix)
                else " " + token
            )
        self._first = False
        for old, new in self._cleanup:
            token = token.replace(old, new)
        return [token]


class _WordSuffix(_Stage):
    """BPEDecoder: the suffix is a space, except in the last token, which is therefore held."""

    def __init__(self, config):
        self._suffix = config.get("suffix", "</w>")
        self._held = None

    def push(self, token):
        held, self._held = self._held, token
        return [] if held is None else [held.replace(self._suffix, " ")]

    def flush(self):
        held, self._held = self._held, None
        return [] if held is None else [held.replace(self._suffix, "")]


class _Replace(_Stage):
    def __init__(self, config):
        self._old, self._new = config["pattern"]["String"], config["content"]

    def push(self, token):
        return [token.replace(self._old, self._new)]


class _ByteFallback(_Stage):
    """A run of byte tokens is text if the *whole* run is UTF-8, else one U+FFFD a byte: so the run
    is held."""

    def __init__(self):
        self._run = bytearray()

    def push(self, token):
        match = _BYTE_TOKEN.fullmatch(token)
        if match:
            self._run.append(int(match[1], 16))
            return []
        return [*self.flush(), token]

    def flush(self):
        run, self._run = self._run, bytearray()
        try:
            return [run.decode()] if run else []
        except UnicodeDecodeError:
            return ["\ufffd"] * len(run)


class _Strip(_Stage):
    """Up to `start` leading and `stop` trailing characters; of the whole text when the tokens are
    fused."""

    def __init__(self, config, fused, continues):
        self._char, self._start, self._stop = config["content"], config["start"], config["stop"]
        self._fused, self._left, self._tail = fused, 0 if continues else config["start"], ""

    def _cut_start(self, text, most):
        cut = 0
        while cut < min(most, len(text)) and text[cut] == self._char:
            cut += 1
        return cut

    def _end_run(self, text):
        return min(len(text) - len(text.rstrip(self._char)), self._stop)

    def push(self, token):
        if not self._fused:
            start = self._cut_start(token, self._start)
            return [token[start : max(start, len(token) - self._end_run(token))]]
        cut = self._cut_start(token, self._left)
        if token:
            self._left = self._left - cut if cut == len(token) else 0
        text = self._tail + token[cut:]
        end = len(text) - self._end_run(text)
        self._tail = text[end:]
        return [text[:end]]


def _stages(config, continues, fused=False):
    """Stages of a decoder's JSON form, and whether its output is one fused text."""
    if config is None:
        return [_NoDecoder(continues)], False
    kind = config.get("type")
    if kind == "Sequence":
        stages = []
        for part in config["decoders"]:
            more, fused = _stages(part, continues, fused)
            stages += more
        return stages, fused
    if kind == "Fuse":
        return [], True
    if kind == "Strip":
        return [_Strip(config, fused, continues)], fused
    if (
        kind == "Replace"
        and "String" in config["pattern"]
        and (not fused or len(config["pattern"]["String"]) == 1)
    ):
        return [_Replace(config)], fused
    makers = {
        "ByteLevel": _ByteLevel,
        "ByteFallback": _ByteFallback,
        "WordPiece": lambda: _WordPiece(config, continues),
        "Metaspace": lambda: _Metaspace(config, continues),
        "BPEDecoder": lambda: _WordSuffix(config),
    }
    if kind not in makers or fused:
        raise EngineError(
            "E_NO_TOKENIZER",
            model="The checkpoint",
            detail=f"its decoder {config} is not supported",
        )
    return [makers[kind]()], kind == "ByteLevel"


class Detokenizer:
    """`push(token) -> text` then `flush() -> text`: the concatenation is the decoder's text of all
    tokens.

    `config` is the `decoder` entry of a tokenizer.json (a dict or None). With `continues`, the
    tokens follow earlier text, and the rules for the first token of a text do not apply. Raises
    E_NO_TOKENIZER for a decoder that is not known.
    """

    def __init__(self, config, continues=False):
        try:
            self._stages, _ = _stages(config, continues)
            for token in ("a ▁", "b"):  # a field of another type than the decoder's shows here
                self.push(token)
            self._stages, _ = _stages(config, continues)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            detail = f"its decoder cannot be read: {type(error).__name__} {error}"[:200]
            raise EngineError("E_NO_TOKENIZER", model="The checkpoint", detail=detail) from None

    def push(self, token):
        pieces = [token]
        for stage in self._stages:
            pieces = [text for piece in pieces for text in stage.push(piece)]
        return "".join(pieces)

    def flush(self):
        pieces = []
        for stage in self._stages:
            pieces = [text for piece in pieces for text in stage.push(piece)] + stage.flush()
        return "".join(pieces)


def token_bytes(config, token):
    """Bytes that `token` stands for in the middle of a text, under a tokenizer.json's decoder
    `config`."""
    stages = [stage for stage in _stages(config, True)[0] if not isinstance(stage, _Strip)]
    if any(isinstance(stage, _ByteLevel) for stage in stages):
        return byte_level_bytes(token)
    match = _BYTE_TOKEN.fullmatch(token)
    if match and any(isinstance(stage, _ByteFallback) for stage in stages):
        return bytes([int(match[1], 16)])
    for stage in stages:
        # A word suffix is a space unless the text ends here: pushing an empty token says that it
        # goes on.
        token = "".join(
            stage.push(token) + (stage.push("") if isinstance(stage, _WordSuffix) else [])
        )
    return token.encode("utf-8", "surrogatepass")
