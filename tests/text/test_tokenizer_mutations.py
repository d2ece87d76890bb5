"""Seeded mutations of a tokenizer.json, through both back ends: a coded error or a tokenizer, within
2 s and, of what Python takes, twice the file's size (or 2 MB). `--long`: 1,000 of each."""
import json
import random
from array import array

import pytest

from pyengine.errors import EngineError
from pyengine.text.detokenize import Detokenizer
from pyengine.text.gguf_tokenizer import tokenizer_json_from_gguf
from pyengine.text.tokenizer import open_tokenizer
from tests.formats.test_mutations import SECONDS, judged
from tests.support import own_seconds
from tests.text.backends import in_node, start_node

TEXTS = ["", "hello a wörld ▁<s> 日本\n", "a" * 40]
LETTERS = "▁aehlo wörd日"
CONFIG = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True}


def described(model, **more):
    return json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
        {"id": i, "content": token, "special": i < 3, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False} for i, token in enumerate(["<unk>", "<s>", "</s>", "日本"])],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": model, **more}, ensure_ascii=False)


VOCAB = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "日本", *LETTERS, "he", "hel", "##a"])}
POST = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                 {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
KINDS = {
    "bpe": described({"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
                      "byte_fallback": True, "vocab": VOCAB, "merges": ["h e", "he l"]},
                     normalizer={"type": "Sequence", "normalizers": [
                         {"type": "Prepend", "prepend": "▁"},
                         {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                     decoder={"type": "Sequence", "decoders": [
                         {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                         {"type": "ByteFallback"}, {"type": "Fuse"},
                         {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                     post_processor=POST),
    "split": described({"type": "BPE", "vocab": VOCAB, "merges": [["h", "e"]]},
                       pre_tokenizer={"type": "Split", "behavior": "Isolated", "invert": False,
                                      "pattern": {"Regex": "\\p{L}+| ?[^\\s\\p{L}]+|\\s+(?!\\S)"}},
                       decoder={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                                "use_regex": False}),
    "unigram": described({"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                          "vocab": [[token, -float(i)] for token, i in VOCAB.items()]},
                         pre_tokenizer={"type": "Metaspace", "replacement": "▁",
                                        "prepend_scheme": "always", "split": True},
                         decoder={"type": "Metaspace", "replacement": "▁",
                                  "prepend_scheme": "always", "split": True}),
    "wordpiece": described({"type": "WordPiece", "unk_token": "<unk>", "max_input_chars_per_word": 100,
                            "continuing_subword_prefix": "##", "vocab": VOCAB},
                           pre_tokenizer={"type": "BertPreTokenizer"},
                           normalizer={"type": "BertNormalizer", "clean_text": True, "lowercase": True,
                                       "handle_chinese_chars": True, "strip_accents": None},
                           decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
}


def used(tokenizer):
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=True)
        assert isinstance(tokenizer.decode(ids), str)
        tokenizer.eos_ids({})


def check(name, count, opened, where):
    used(opened(KINDS[name]))
    judged(f"tokenizer.json, {name}, {where}", count, KINDS[name].encode(),
           lambda data: used(opened(data.decode("utf-8", "replace"))))


@pytest.mark.parametrize("decoder", [
    {"type": "Strip", "content": " ", "start": "1", "stop": 0}, {"type": "Sequence", "decoders": 3},
    {"type": "Replace", "pattern": {"String": 3}, "content": ""}, {"type": "Replace", "content": 5},
    {"type": "WordPiece", "prefix": 3}, {"type": "Metaspace", "replacement": 4}, {"type": ["x"]}, 5,
    {"type": "BPEDecoder", "suffix": [1]}])
def test_a_decoder_of_wrong_types_is_refused(decoder):
    with pytest.raises(EngineError) as caught:
        Detokenizer(decoder)
    assert caught.value.code == "E_NO_TOKENIZER"


def without(kind, **changes):
    return json.dumps({**json.loads(KINDS[kind]), **changes})


@pytest.mark.parametrize("text", [
    without("bpe", post_processor={**POST, "special_tokens": {}}),  # a panic of the Rust library
    without("wordpiece", model={**json.loads(KINDS["wordpiece"])["model"], "vocab": {"a": 0}})])
def test_what_only_a_text_shows_is_refused_natively(text):
    with pytest.raises(EngineError) as caught:
        used(open_tokenizer(text, CONFIG))
    assert caught.value.code == "E_NO_TOKENIZER" and caught.value.facts["detail"]


COUNTS = [60, pytest.param(1000, marks=pytest.mark.long)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KINDS)
def test_the_native_back_end(name, count):
    check(name, count, lambda text: open_tokenizer(text, CONFIG), "native")


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KINDS)
def test_the_browsers_back_end(name, count):
    process, folder = start_node("--max-old-space-size=64")
    with folder:
        try:
            check(name, count, lambda text: in_node(process, text, CONFIG), "browser")
        finally:
            process.kill()
            process.communicate()


SPELLED = ["<unk>", "<s>", "</s>", "h", "e", "he", "Ġ", "▁", "<0x41>", "日", "a", "▁he"]
METADATA = {
    "gpt2": {"model": "gpt2", "pre": "smollm", "merges": ["h e"]},
    "llama": {"model": "llama", "scores": [-float(i) for i in range(len(SPELLED))],
              "add_space_prefix": True},
}
VALUES = [None, 0, -1, 2**40, 1.5, float("nan"), "x", "", "h e", [], [1], ["a", 3], {}, True, "\ud800",
          [""] * 50, b"\xff", array("i", [1, 2]), array("f", [0.5])]


def changed(metadata, rng):
    """One to three entries dropped, changed for another value, or changed inside."""
    found = dict(metadata)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(list(metadata))
        if rng.random() < 0.2:
            found.pop(key, None)
        elif isinstance(found.get(key), list) and found[key] and rng.random() < 0.7:
            found[key] = list(found[key])
            found[key][rng.randrange(len(found[key]))] = rng.choice(VALUES)
        else:
            found[key] = rng.choice(VALUES)
    return found


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_a_gguf_file(name, count):
    metadata = {f"tokenizer.ggml.{key}": value for key, value in {
        "tokens": SPELLED, "token_type": [2, 3, 3] + [1] * (len(SPELLED) - 3), "bos_token_id": 1,
        "eos_token_id": 2, "unknown_token_id": 0, "add_bos_token": True, **METADATA[name]}.items()}
    used(open_tokenizer(*tokenizer_json_from_gguf(metadata)))
    numbers = {"token_type": "i", "scores": "f"}  # as the reader of a file gives them
    for key in numbers.keys() & {key.rpartition(".")[2] for key in metadata}:
        metadata[f"tokenizer.ggml.{key}"] = array(numbers[key], metadata[f"tokenizer.ggml.{key}"])
    used(open_tokenizer(*tokenizer_json_from_gguf(metadata)))
    rng, refused = random.Random(f"{name} {count}"), 0
    for number in range(count):
        given, began = changed(metadata, rng), own_seconds()
        try:
            used(open_tokenizer(*tokenizer_json_from_gguf(given)))
        except EngineError as error:
            assert error.code == "E_NO_TOKENIZER", (number, given)
            refused += 1
        except BaseException as error:
            raise AssertionError((number, given)) from error
        assert own_seconds() - began < SECONDS, (number, given)
    assert refused > count // 10
