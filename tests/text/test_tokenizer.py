"""The tokenizer facade over both back ends: ids equal to the Rust library's, text equal to its
decoder's."""

import hashlib
import json
import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine.errors import EngineError
from pyengine.text.tokenizer import JsBackend, Tokenizer, open_tokenizer
from tests.text.backends import GOLDENS, KINDS, in_node, native, rust, tokenizer_json
from tests.text.corpus import TEXTS, long_mix

FIXTURES = KINDS[:-1]  # those with a golden file of their own
CORPUS = {**TEXTS, "mix": long_mix(100_000)}


def digest(ids):
    return [len(ids), hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]]


def edited(kind, **changes):
    return json.dumps({**json.loads(tokenizer_json(kind)), **changes})


def template(*names):
    """A post-processor that puts the named tokens of `spm_bpe_bytefallback_gemma` before the
    text."""
    ids = {"<bos>": 2, "<eos>": 1}
    single = [{"SpecialToken": {"id": n, "type_id": 0}} for n in names]
    single.append({"Sequence": {"id": "A", "type_id": 0}})
    special = {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in names}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single,
        "special_tokens": special,
    }


@pytest.mark.parametrize("kind", FIXTURES)
def test_golden_ids_tokens_and_text(kind, in_js):
    cases = json.loads((GOLDENS / f"{kind}.golden.json").read_text())
    for tokenizer in (native(kind), in_js(kind)):
        for case in cases:
            ids = tokenizer.encode(case["text"])
            assert ids == case["ids"]
            # For an unknown piece the golden file shows the text that it stands for.
            known = [t for i, t in zip(ids, case["tokens"]) if i not in tokenizer.special_ids]
            assert tokenizer.tokens(ids) == known
            assert tokenizer.decode(ids) == case["decoded"]


@pytest.mark.parametrize("kind", KINDS)
def test_hard_corpus_in_both_back_ends(kind, in_js):
    golden = json.loads((GOLDENS / "corpus_ids.golden.json").read_text())[kind]
    oracle, js = native(kind), in_js(kind)
    assert (js.vocab_size, js.special_ids) == (oracle.vocab_size, oracle.special_ids)
    for name, text in CORPUS.items():
        for special in (False, True):
            ids = oracle.encode(text, special)
            assert js.encode(text, special) == ids, name
        assert digest(oracle.encode(text)) == golden[name], name
        assert js.decode(ids, False) == oracle.decode(ids, False)


@pytest.mark.parametrize("kind", ("bytelevel_bpe_qwen", "unigram", "wordpiece", "smollm2"))
def test_code_points_in_both_back_ends(kind, in_js):
    """Of every assigned block: categories, marks and case differ between Unicode versions."""
    chars = [
        c
        for c in map(chr, range(0x80, 0x110000))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co")
    ]
    chosen = random.Random(3).sample(chars, 7000)
    for text in (
        "".join(f"a{c}b " for c in chosen),
        "".join(f"{c}\u0301{c}'s 1{c}" for c in chosen),
    ):
        assert in_js(kind).encode(text) == native(kind).encode(text)


@pytest.mark.parametrize(
    "kind, text",
    [
        pytest.param(
            kind, text, id=f"{name}-{kind}", marks=() if kind in quick else pytest.mark.long
        )
        for name, text, quick in (
            ("mix", long_mix(1_000_000, seed=1), ("smollm2",)),
            ("one word", "a" * 1_000_000, ("spm_bpe_bytefallback_gemma", "unigram")),
        )
        for kind in KINDS
    ],
)
def test_a_megabyte_in_both_back_ends(kind, text, in_js):
    assert in_js(kind).encode(text) == native(kind).encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_text_with_lone_surrogates_is_refused(kind):
    for text, position in (("\ud83d", 0), ("ab\udc00c", 2), ("🙂\ud800", 1)):
        with pytest.raises(EngineError) as caught:
            native(kind).encode(text)
        assert caught.value.code == "E_BAD_REQUEST"
        assert caught.value.facts["position"] == position
    with pytest.raises(EngineError, match="wanted a string"):
        native(kind).encode(None)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_decode_equals_the_rust_decoder(kind, data):
    tokenizer, oracle = native(kind), rust(kind)
    top = min(tokenizer.vocab_size, 700)
    ids = data.draw(st.lists(st.integers(0, top + 3), max_size=40))
    for skip in (True, False):
        assert tokenizer.decode(ids, skip) == oracle.decode(ids, skip_special_tokens=skip)


def test_lookups_agree(in_js):
    for kind in KINDS:
        oracle, js = native(kind), in_js(kind)
        ids = [0, 1, 83, 399, oracle.vocab_size - 1]
        assert [js.id_to_token(i) for i in ids] == [oracle.id_to_token(i) for i in ids]
        assert [js.token_to_id(oracle.id_to_token(i)) for i in ids] == ids
        for tokenizer in (oracle, js):
            assert tokenizer.id_to_token(-1) is tokenizer.id_to_token(tokenizer.vocab_size) is None
            assert tokenizer.token_to_id("no such token") is None


@pytest.mark.parametrize(
    "kind, text",
    (
        ("bytelevel_bpe_qwen", "naïve 日本 🙂\n"),
        ("smollm2", "naïve 日本 🙂\n"),
        ("spm_bpe_bytefallback_gemma", "naïve 日本 🙂\n"),
        ("spm_bpe_bytefallback_gemma", "\u0f00\t"),
    ),
)
def test_token_bytes_join_to_the_text(kind, text):
    tokenizer = native(kind)
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


def test_token_bytes_of_single_tokens():
    for kind, token, raw in (
        ("smollm2", "Ġthe", b" the"),
        ("smollm2", "Ċ", b"\n"),
        ("unigram", "▁the", b" the"),
        ("spm_bpe_bytefallback_gemma", "<0xE6>", b"\xe6"),
        ("wordpiece", "##el", b"el"),
        ("spm_bpe_bytefallback_gemma", "▁▁", b"  "),
        ("wordpiece", "it", b" it"),
        ("smollm2", "<|im_end|>", b"<|im_end|>"),
    ):
        assert native(kind).token_bytes(native(kind).token_to_id(token)) == raw
    for token_id in (-1, 49152):
        with pytest.raises(EngineError, match="token id"):
            native("smollm2").token_bytes(token_id)


@pytest.mark.parametrize(
    "added, wanted, ids",
    (
        (True, None, [2]),
        (True, True, [2]),
        (True, False, []),
        (False, None, []),
        (False, True, [2]),
        (False, False, []),
    ),
)
def test_bos_follows_post_processor_and_config(added, wanted, ids, node):
    text = edited("spm_bpe_bytefallback_gemma", post_processor=template("<bos>") if added else None)
    config = {
        "bos_token": {"content": "<bos>"},
        **({} if wanted is None else {"add_bos_token": wanted}),
    }
    for tokenizer in (open_tokenizer(text, config), in_node(node, text, config)):
        plain = tokenizer.encode("hi")
        assert tokenizer.encode("hi", add_special_tokens=True) == ids + plain
        assert tokenizer.encode("", add_special_tokens=True) == ids
        assert tokenizer.encode("<bos>hi", add_special_tokens=True) == ids + [2] + plain


def test_eos_ids_are_the_union():
    tokenizer = native("smollm2")
    assert tokenizer.eos_ids({"eos_token_id": 2}, {"eos_token": "<|endoftext|>"}) == [0, 2]
    assert tokenizer.eos_ids(
        {"eos_token_id": [2, 0, 99999]}, {"eos_token": {"content": "<|im_end|>"}}
    ) == [0, 2]
    assert tokenizer.eos_ids({}, {"eos_token": None, "eot_token": "<|im_start|>"}) == [1]
    assert tokenizer.eos_ids() == []
    assert open_tokenizer(tokenizer_json("smollm2"), {"eos_token": "<|im_end|>"}).eos_ids() == [2]


@pytest.mark.parametrize(
    "flags",
    (
        {"single_word": True},
        {"lstrip": True},
        {"rstrip": True},
        {"normalized": True},
        {"lstrip": True, "rstrip": True},
    ),
)
def test_added_token_flags_in_both_back_ends(flags, node):
    base = json.loads(tokenizer_json("bytelevel_bpe_qwen"))
    token = {
        "id": 600,
        "content": "né",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
        **flags,
    }
    text = json.dumps({**base, "added_tokens": [*base["added_tokens"], token]})
    oracle, js = open_tokenizer(text), in_node(node, text)
    for sample in (
        "a né b",
        "xnéy né",
        "né\u0085 \ufeffné",
        "  né\n\nné  né",
        "ne\u0301 né",
        "𝐚né né𝐚",
    ):
        assert js.encode(sample) == oracle.encode(sample), sample


PRE_TOKENIZERS = [
    {"type": "Split", "pattern": {"Regex": r"\s|,"}, "behavior": behaviour, "invert": invert}
    for behaviour in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    for invert in (False, True)
] + [
    {"type": "Digits", "individual_digits": False},
    {"type": "Whitespace"},
    {"type": "WhitespaceSplit"},
    {"type": "Punctuation", "behavior": "Contiguous"},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
]
NORMALIZERS = [
    {"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")
] + [
    {"type": "Replace", "pattern": {"Regex": "e+"}, "content": "$&"},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Strip", "strip_left": True, "strip_right": True},
]


@pytest.mark.parametrize(
    "change",
    [{"pre_tokenizer": p} for p in PRE_TOKENIZERS] + [{"normalizer": n} for n in NORMALIZERS],
    ids=lambda c: str([*c.values()][0])[10:80],
)
def test_components_in_both_back_ends(change, node):
    text = edited("spm_bpe_bytefallback_gemma", **change)
    oracle, js = open_tokenizer(text), in_node(node, text)
    for name, sample in TEXTS.items():
        assert js.encode(sample) == oracle.encode(sample), name


@pytest.mark.parametrize(
    "options",
    (
        {"fuse_unk": True},
        {"fuse_unk": False},
        {"ignore_merges": True},
        {"byte_fallback": True, "unk_token": "<unk>"},
    ),
)
def test_bpe_options_in_both_back_ends(options, node):
    """Without byte tokens every character that the vocabulary lacks is unknown."""
    base = json.loads(tokenizer_json("spm_bpe_bytefallback_gemma"))
    vocab = {t: i for t, i in base["model"]["vocab"].items() if not t.startswith("<0x")}
    model = {**base["model"], "vocab": vocab, "byte_fallback": False, **options}
    split = {"type": "Split", "pattern": {"String": "▁"}, "behavior": "Isolated", "invert": False}
    text = json.dumps({**base, "model": model, "pre_tokenizer": split})
    oracle, js = open_tokenizer(text), in_node(node, text)
    for name, sample in TEXTS.items():
        assert js.encode(sample) == oracle.encode(sample), name


@pytest.mark.parametrize(
    "text",
    (
        None,
        "",
        "{",
        "{}",
        '{"model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}',
        '{"model": {"type": "Magic", "vocab": {}}}',
    ),
)
def test_a_bad_tokenizer_json_is_an_error_with_a_code(text, node):
    for open_one in (open_tokenizer, lambda source: in_node(node, source)):
        with pytest.raises(EngineError) as caught:
            open_one(text)
        assert caught.value.code == "E_NO_TOKENIZER"


def test_an_unknown_decoder_is_refused():
    with pytest.raises(EngineError, match="CTC"):
        open_tokenizer(
            edited(
                "smollm2",
                decoder={
                    "type": "CTC",
                    "pad_token": "x",
                    "word_delimiter_token": "|",
                    "cleanup": True,
                },
            )
        )


def test_the_js_back_end_releases_every_proxy():
    live = []

    class Proxy:
        def __init__(self, values):
            self.values = values
            live.append(self)

        def to_py(self):
            return memoryview(bytes(self.values))

        def destroy(self):
            live.remove(self)

    class Js:
        decoderJson, vocabSize = '{"type": "ByteLevel"}', 5
        specialIds = Proxy([1])

        def encode(self, text, special):
            return Proxy([1, 2, 3])

    tokenizer = Tokenizer(JsBackend(Js()))
    assert tokenizer.encode("x") == [1, 2, 3]
    assert not live
