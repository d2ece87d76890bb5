"""Text to ids and back: one facade over the Rust library natively and its JavaScript counterpart in
the browser.

A back end only encodes and looks tokens up; decoding is `detokenize.py` in both, so text cannot
differ by platform.
"""

import json
from contextlib import contextmanager

from pyengine.errors import EngineError
from pyengine.text.detokenize import Detokenizer, token_bytes


@contextmanager
def _library(model="The checkpoint"):
    """Makes `E_NO_TOKENIZER` of what a library raises: bare errors whose text is all there is, and
    Rust's panics, which are no `Exception`. Some files are found wrong only by the first text."""
    try:
        yield
    except (EngineError, ImportError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise EngineError("E_NO_TOKENIZER", model=model, detail=str(error)[:200]) from error


class NativeBackend:
    """The PyPI package `tokenizers` (Rust): the oracle of the ids."""

    def __init__(self, tokenizer_json):
        from tokenizers import Tokenizer as RustTokenizer

        self._rust = RustTokenizer.from_str(tokenizer_json)
        self._rust.no_truncation()
        self._rust.no_padding()
        added = self._rust.get_added_tokens_decoder()
        decoder = self._rust.decoder
        self.decoder = None if decoder is None else json.loads(decoder.__getstate__())
        self.special_ids = [i for i, token in added.items() if token.special]
        self.vocab_size = max([self._rust.get_vocab_size(True), *(i + 1 for i in added)])

    def encode(self, text, add_special_tokens):
        with _library():
            return self._rust.encode(text, add_special_tokens=add_special_tokens).ids

    def token_to_id(self, token):
        return self._rust.token_to_id(token)

    def id_to_token(self, token_id):
        return self._rust.id_to_token(token_id)

    def all_tokens(self):
        return [self._rust.id_to_token(i) for i in range(self.vocab_size)]


class JsBackend:
    """The object of `createTokenizer` in `pwa_shell/tokenizer.js`, reached by duck typing (a proxy
    in the browser).

    It has `encode(text, addSpecial) -> Int32Array`, `tokenToId`, `idToToken` (undefined when
    absent), `tokensJson()`, `vocabSize`, `specialIds` (Int32Array) and `decoderJson`.
    """

    def __init__(self, js_object):
        self._js = js_object
        self.decoder = json.loads(js_object.decoderJson)
        self.special_ids = _ints(js_object.specialIds)
        self.vocab_size = int(js_object.vocabSize)

    def encode(self, text, add_special_tokens):
        with _library():
            return _ints(self._js.encode(text, add_special_tokens))

    def token_to_id(self, token):
        return self._js.tokenToId(token)

    def id_to_token(self, token_id):
        return self._js.idToToken(token_id)

    def all_tokens(self):
        return json.loads(self._js.tokensJson())


def _ints(array):
    """A typed array's proxy as a list of ints; the proxy is released, else each call would leak
    one."""
    if not hasattr(array, "to_py"):
        return list(array)
    values = list(array.to_py())
    if hasattr(array, "destroy"):
        array.destroy()
    return values


class Tokenizer:
    """Facade over a back end: an object with `encode(text, add_special_tokens) -> [int]`,
    `token_to_id`, `id_to_token` (None when absent), `all_tokens() -> [str | None]`, `vocab_size`,
    `special_ids` and `decoder` (the tokenizer.json entry).

    `config` is the checkpoint's tokenizer_config.json (a dict). Raises E_NO_TOKENIZER when the
    decoder is unknown.
    """

    def __init__(self, backend, config=None):
        self._backend = backend
        self.config = self._config = config or {}
        self._tokens = {}
        self.vocab_size = backend.vocab_size  # one more than the largest id
        self.special_ids = frozenset(backend.special_ids)
        self._bos = self._bos_rule()
        self.detokenizer()

    def encode(self, text, add_special_tokens=False):
        """Ids of `text`. Special tokens written out in the text are recognised either way;
        `add_special_tokens` adds what the post-processor and `add_bos_token` say. Raises
        E_BAD_REQUEST for text that is not Unicode."""
        check_text(text)
        ids = self._backend.encode(text, bool(add_special_tokens))
        return self._with_bos(ids) if add_special_tokens else ids

    def decode(self, ids, skip_special_tokens=True):
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, ids outside the vocabulary
        nothing."""
        stream = self.detokenizer()
        tokens = self.tokens(ids, skip_special_tokens)
        return "".join([stream.push(token) for token in tokens]) + stream.flush()

    def tokens(self, ids, skip_special_tokens=True):
        """Token strings of `ids`, without those that decode to nothing."""
        kept = (i for i in ids if not (skip_special_tokens and i in self.special_ids))
        return [token for token in map(self.id_to_token, kept) if token is not None]

    def detokenizer(self, continues=False):
        """A fresh incremental decoder for this vocabulary (see `Detokenizer`)."""
        return Detokenizer(self._backend.decoder, continues)

    def token_to_id(self, token):
        """Id of a token string, or None."""
        return self._backend.token_to_id(token)

    def id_to_token(self, token_id):
        """Token string of an id, or None; kept, because in the browser each lookup crosses to
        JavaScript."""
        if token_id not in self._tokens:
            known = 0 <= token_id < self.vocab_size
            self._tokens[token_id] = self._backend.id_to_token(token_id) if known else None
        return self._tokens[token_id]

    @property
    def decoder(self):
        """The `decoder` entry of the tokenizer.json, or None."""
        return self._backend.decoder

    def all_tokens(self):
        """Token string of every id from 0 on, None where there is none: at once, since each look-up
        alone crosses to JavaScript."""
        return self._backend.all_tokens()

    def token_bytes(self, token_id):
        """Raw bytes of a token in the middle of a text: byte-level alphabet, `<0xNN>` and U+2581
        undone.

        A special token gives the bytes of its name. Raises E_BAD_REQUEST for an id outside the
        vocabulary.
        """
        token = self.id_to_token(token_id)
        if token is None:
            raise EngineError(
                "E_BAD_REQUEST",
                param="token id",
                got=token_id,
                wanted=f"0 to {self.vocab_size - 1}",
            )
        if token_id in self.special_ids:
            return token.encode("utf-8", "surrogatepass")
        return token_bytes(self._backend.decoder, token)

    def eos_ids(self, generation_config=None, tokenizer_config=None):
        """Sorted ids that end a generation: generation_config's `eos_token_id` (an id or a list)
        and the end tokens that tokenizer_config names (`eot_token` and `eom_token` come from
        GGUF)."""
        found = (generation_config or {}).get("eos_token_id")
        ids = set(found if isinstance(found, list) else [] if found is None else [found])
        config = self._config if tokenizer_config is None else tokenizer_config
        names = [token_name(config.get(key)) for key in ("eos_token", "eot_token", "eom_token")]
        ids |= {self.token_to_id(name) for name in names if name is not None}
        return sorted(i for i in ids if isinstance(i, int) and 0 <= i < self.vocab_size)

    def _bos_rule(self):
        """(bos id, whether the post-processor adds it, whether it is wanted)."""
        name = token_name(self._config.get("bos_token"))
        bos = None if name is None else self.token_to_id(name)
        added = bos is not None and self._backend.encode("", True)[:1] == [bos]
        wanted = self._config.get("add_bos_token")
        return bos, added, added if wanted is None else bool(wanted)

    def _with_bos(self, ids):
        bos, added, wanted = self._bos
        if bos is None or added == wanted:
            return ids
        return [bos, *ids] if wanted else ids[1:]


def token_name(entry):
    """The text of a tokenizer_config token: a string, an object with `content`, or None."""
    return entry.get("content") if isinstance(entry, dict) else entry


def check_text(text, param="text"):
    """Raises E_BAD_REQUEST unless `text` is a str without lone surrogates (JavaScript strings may
    hold them)."""
    if not isinstance(text, str):
        raise EngineError("E_BAD_REQUEST", param=param, got=type(text).__name__, wanted="a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EngineError(
            "E_BAD_REQUEST",
            param=param,
            position=error.start,
            wanted="well-formed Unicode",
            got=f"a lone surrogate U+{ord(text[error.start]):04X} at position {error.start}",
        ) from None


def open_tokenizer(
    tokenizer_json, tokenizer_config=None, make_backend=NativeBackend, model="The checkpoint"
):
    """A `Tokenizer` from the text of a tokenizer.json (None when the checkpoint has none) and its
    config dict.

    `make_backend(tokenizer_json) -> back end`. Raises E_NO_TOKENIZER when there is none or the
    library refuses it, ImportError where the library is not installed.
    """
    if tokenizer_json is None:
        raise EngineError("E_NO_TOKENIZER", model=model, detail="there is no tokenizer.json")
    with _library(model):
        backend = make_backend(tokenizer_json)
    return Tokenizer(backend, tokenizer_config)
