"""A tokenizer.json from the vocabulary inside a GGUF file, so that one facade serves every format.

Split expressions and defaults per `tokenizer.ggml.pre`: llama.cpp's vocabulary loader and the
models' own tokenizer.json files. Merge order of SentencePiece BPE: the piece with the highest score
first.
"""

import json
from array import array

from pyengine.errors import EngineError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN2 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}|"
    rf" ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
_LLAMA3 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|"
    rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")


def _rows(names, **rule):
    return dict.fromkeys(
        names.split(),
        {
            "digits": False,
            "splits": (),
            "nfc": False,
            "ignore_merges": False,
            "add_bos": False,
            **rule,
        },
    )


# tokenizer.ggml.pre -> rule; no splits: GPT-2's, which ByteLevel does itself.
PRE_TOKENIZERS = {
    **_rows("smollm starcoder refact command-r codeshell exaone minerva-7b", digits=True),
    **_rows("gpt-2 gpt2 phi-2 mpt olmo jais exaone4 trillion granite-docling"),
    **_rows("qwen2 deepseek-r1-qwen megrez", splits=(_QWEN2,), nfc=True),
    **_rows("stablelm2 hunyuan grok-2", splits=(_QWEN2,)),
    **_rows("qwen35", splits=(_QWEN35,), nfc=True),
    **_rows(
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
        splits=(_LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    **_rows("dbrx smaug-bpe glm4 chatglm-bpe", splits=(_LLAMA3,)),
    **_rows("default", splits=_DEFAULT),
}
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_SPECIALS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
    "eot_token": "eot_token_id",
    "eom_token": "eom_token_id",
}


MAX_TOKEN = 4096  # characters: the ways to make a token of two grow with their square


def tokenizer_json_from_gguf(metadata):
    """(text of a tokenizer.json, tokenizer_config dict) from a GGUF's key-value dict.

    Keys read: `tokenizer.ggml.*`, `tokenizer.chat_template*`; a `tokenizer.huggingface.json` is
    used as it is. Raises E_NO_TOKENIZER for an unknown vocabulary or pre-tokenizer and for lists
    that do not fit together.
    """
    own = metadata.get("tokenizer.huggingface.json")
    vocabulary = _Vocabulary(metadata, need_tokens=not own)
    config = vocabulary.config()
    if own:
        if not isinstance(own, str):
            vocabulary.refuse("tokenizer.huggingface.json is no text")
        return own, config
    model = metadata.get("tokenizer.ggml.model")
    builders = {"gpt2": _byte_level_bpe, "llama": _sentencepiece_bpe}
    if not isinstance(model, str) or model not in builders:
        vocabulary.refuse(f"tokenizer.ggml.model is {model!r}, known: {', '.join(builders)}")
    built = builders[model](vocabulary)
    config.setdefault("add_bos_token", built.pop("add_bos"))
    built["post_processor"] = vocabulary.template(config)
    built = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        **built,
    }
    return json.dumps(built, ensure_ascii=False), config


class _Vocabulary:
    """The checked lists: `tokens` (id order), `types`, and lookups by GGUF key without its
    prefix."""

    def __init__(self, metadata, need_tokens):
        self._metadata = metadata
        self.tokens = self.list_of("tokens", str, "strings")
        self.types = self.list_of("token_type", int, "numbers") or [_NORMAL] * len(self.tokens)
        if need_tokens and not self.tokens:
            self.refuse("tokenizer.ggml.tokens holds no list of strings")
        if max(map(len, self.tokens), default=0) > MAX_TOKEN:
            self.refuse(f"a token has more than {MAX_TOKEN} characters")
        if len(self.types) != len(self.tokens):
            self.refuse(f"{len(self.types)} token types for {len(self.tokens)} tokens")

    def list_of(self, key, kinds, named):
        """The list of a key, or an empty one; refused where it holds anything but `kinds`."""
        found = self.get(key)
        if found is None:
            return []
        if not isinstance(found, (list, array)) or not all(isinstance(one, kinds) for one in found):
            self.refuse(f"tokenizer.ggml.{key} holds no list of {named}")
        return found

    def get(self, key, default=None):
        return self._metadata.get(f"tokenizer.ggml.{key}", default)

    def refuse(self, detail):
        raise EngineError(
            "E_NO_TOKENIZER",
            model=self._metadata.get("general.name") or "The GGUF file",
            detail=detail,
        )

    def special(self, key):
        """Token string of a special-id key, or None; an id outside the vocabulary is refused."""
        token_id = self.get(key)
        if token_id is None or not self.tokens:
            return None
        if not isinstance(token_id, int) or not 0 <= token_id < len(self.tokens):
            self.refuse(
                f"tokenizer.ggml.{key} is {token_id}, the vocabulary has {len(self.tokens)}"
            )
        return self.tokens[token_id]

    def config(self):
        config = {name: self.special(key) for name, key in _SPECIALS.items()}
        config = {name: token for name, token in config.items() if token is not None}
        for key in ("add_bos_token", "add_eos_token"):
            if self.get(key) is not None:
                config[key] = bool(self.get(key))
        template = self._metadata.get("tokenizer.chat_template")
        named = [
            {"name": key.rpartition(".")[2], "template": text}
            for key, text in self._metadata.items()
            if key.startswith("tokenizer.chat_template.")
        ]
        if named:
            config["chat_template"] = (
                [{"name": "default", "template": template}] if template else []
            ) + named
        elif template:
            config["chat_template"] = template
        return config

    def added(self):
        """Control and unknown tokens are special; user-defined ones are matched whole but stay
        text."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        special = (_CONTROL, _UNKNOWN)
        return [
            {"id": i, "content": token, **flags, "special": kind in special}
            for i, (token, kind) in enumerate(zip(self.tokens, self.types))
            if kind in (*special, _USER) and token
        ]

    def template(self, config):
        """Post-processor that adds bos and eos where the file asks for them, else None."""
        entry = {True: [], False: []}
        for first, flag, name in ((True, "add_bos_token", "bos"), (False, "add_eos_token", "eos")):
            token = config.get(f"{name}_token")
            if config.get(flag) and token is not None:
                entry[first].append((token, self.get(f"{name}_token_id")))
        if not entry[True] and not entry[False]:
            return None

        def items(pairs):
            return [{"SpecialToken": {"id": token, "type_id": 0}} for token, _ in pairs]

        def sequence(letter):
            return [
                *items(entry[True]),
                {"Sequence": {"id": letter, "type_id": 0}},
                *items(entry[False]),
            ]

        named = {
            token: {"id": token, "ids": [i], "tokens": [token]}
            for token, i in entry[True] + entry[False]
        }
        return {
            "type": "TemplateProcessing",
            "single": sequence("A"),
            "pair": sequence("A") + sequence("B"),
            "special_tokens": named,
        }


def _bpe(vocab, merges, **options):
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
        **options,
    }


def _byte_level_bpe(vocabulary):
    name = vocabulary.get("pre", "default")
    rule = PRE_TOKENIZERS.get(name) if isinstance(name, str) else None
    if rule is None:
        vocabulary.refuse(f"tokenizer.ggml.pre is {name!r}, known: {', '.join(PRE_TOKENIZERS)}")
    merges = vocabulary.list_of("merges", str, "pairs")
    if not merges or not all(merge.count(" ") == 1 for merge in merges):
        vocabulary.refuse("tokenizer.ggml.merges holds no list of pairs")
    vocab = {token: i for i, token in enumerate(vocabulary.tokens)}
    missing = next(
        (m for m in merges for part in (*m.split(" "), m.replace(" ", "")) if part not in vocab),
        None,
    )
    if missing is not None:
        vocabulary.refuse(f"the merge {missing!r} names a token that the vocabulary lacks")
    prefix = bool(vocabulary.get("add_space_prefix", False))
    level = {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": True,
        "use_regex": not rule["splits"],
    }
    parts = [{"type": "Digits", "individual_digits": True}] if rule["digits"] else []
    parts += [
        {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
        for split in rule["splits"]
    ]
    return {
        "normalizer": {"type": "NFC"} if rule["nfc"] else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*parts, level]},
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": _bpe(vocab, merges, ignore_merges=rule["ignore_merges"]),
        "add_bos": rule["add_bos"],
    }


def _sentencepiece_bpe(vocabulary):
    tokens, types = vocabulary.tokens, vocabulary.types
    scores = vocabulary.list_of("scores", (int, float), "numbers")
    if len(scores) != len(tokens):
        vocabulary.refuse(f"{len(scores)} scores for {len(tokens)} tokens")
    prefix = bool(vocabulary.get("add_space_prefix", True))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        replace = {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace],
        }
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    vocab = {token: i for i, token in enumerate(tokens)}
    unknown = vocabulary.special("unknown_token_id")
    if unknown is None:
        unknown = next((token for token, kind in zip(tokens, types) if kind == _UNKNOWN), None)
    model = _bpe(
        vocab,
        _merges_by_score(vocabulary, scores),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=_BYTE in types,
    )
    return {
        "normalizer": replace,
        "pre_tokenizer": None,
        "add_bos": True,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def _merges_by_score(vocabulary, scores):
    """[[left, right]] of every way to make a piece of two others, best score first.

    SentencePiece merges the pair whose *piece* scores highest; only normal pieces take part.
    """
    pieces = {
        token: i
        for i, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types))
        if kind == _NORMAL
    }
    merges = []
    for token in sorted(pieces, key=lambda piece: -scores[pieces[piece]]):
        ways = [
            [token[:cut], token[cut:]]
            for cut in range(1, len(token))
            if token[:cut] in pieces and token[cut:] in pieces
        ]
        merges += (
            sorted(ways, key=lambda way: (pieces[way[0]], pieces[way[1]]))
            if len(ways) > 1
            else ways
        )
    return merges
