"""Tokenizers from GGUF metadata: equal to the model's own tokenizer.json, and to SentencePiece."""

import gzip
import hashlib
import json

import pytest

from pyengine.errors import EngineError
from pyengine.text.gguf_tokenizer import PRE_TOKENIZERS, tokenizer_json_from_gguf
from pyengine.text.tokenizer import open_tokenizer
from tests.support import own_seconds
from tests.text.backends import GOLDENS, in_node, native, tokenizer_json
from tests.text.corpus import TEXTS, long_mix


def byte_level_metadata(kind="smollm2", pre="smollm", **extra):
    """What llama.cpp's converter writes for the tokenizer.json of `kind`."""
    source = json.loads(tokenizer_json(kind))
    tokens = sorted(source["model"]["vocab"], key=source["model"]["vocab"].get)
    special = {token["content"] for token in source["added_tokens"]}
    pairs = [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": pairs,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        **extra,
    }


def sentencepiece():
    golden = json.loads(gzip.decompress((GOLDENS / "spm_bpe.golden.json.gz").read_bytes()))
    return golden["metadata"], golden["ids"]


def refused(metadata, text):
    with pytest.raises(EngineError, match=text) as caught:
        tokenizer_json_from_gguf(metadata)
    assert caught.value.code == "E_NO_TOKENIZER"


def test_smollm2_gives_its_own_tokenizer_json():
    text, config = tokenizer_json_from_gguf(byte_level_metadata())
    built, own = json.loads(text), json.loads(tokenizer_json("smollm2"))
    assert {k: built[k] for k in own if k != "model"} == {k: own[k] for k in own if k != "model"}
    assert built["model"] == own["model"]
    assert config == {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "add_bos_token": False,
    }


def test_qwen2_equals_the_qwen_fixture():
    text, _ = tokenizer_json_from_gguf(byte_level_metadata("bytelevel_bpe_qwen", "qwen2"))
    for name, sample in {**TEXTS, "mix": long_mix(10_000)}.items():
        assert open_tokenizer(text).encode(sample) == native("bytelevel_bpe_qwen").encode(sample), (
            name
        )


@pytest.mark.parametrize(
    "pre", sorted({json.dumps(rule): name for name, rule in PRE_TOKENIZERS.items()}.values())
)
def test_every_pre_tokenizer_in_both_back_ends(pre, node):
    text, config = tokenizer_json_from_gguf(byte_level_metadata("bytelevel_bpe_qwen", pre))
    rust, js = open_tokenizer(text, config), in_node(node, text, config)
    for name, sample in TEXTS.items():
        ids = rust.encode(sample)
        assert js.encode(sample) == ids, name
        if not PRE_TOKENIZERS[pre]["nfc"]:
            assert rust.decode(ids, skip_special_tokens=False) == sample, name


@pytest.mark.parametrize(
    "pre, words",
    (
        ("smollm", ["a", "1", "2", "Ġb", "'s"]),
        ("gpt-2", ["a", "12", "Ġb", "'s"]),
        ("llama-bpe", ["a", "12", "Ġb", "'s"]),
        ("qwen2", ["a", "1", "2", "Ġb", "'s"]),
    ),
)
def test_words_of_a_pre_tokenizer(pre, words):
    """A vocabulary that holds the words whole, so that the ids show where the text was split."""
    letters = [*"ab12s'Ġ"]
    tokens = [*letters, "12", "Ġb", "'s", "a1", "2Ġ", "b'"]
    merges = ["1 2", "Ġ b", "' s", "a 1", "2 Ġ", "b '"]
    text, _ = tokenizer_json_from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.merges": merges,
        }
    )
    tokenizer = open_tokenizer(text)
    assert tokenizer.tokens(tokenizer.encode("a12 b's")) == words


def test_sentencepiece_bpe_equals_sentencepiece(node):
    metadata, golden = sentencepiece()
    text, config = tokenizer_json_from_gguf(metadata)
    rust, js = open_tokenizer(text, config), in_node(node, text, config)
    for name, (count, digest) in golden.items():
        ids = rust.encode(TEXTS[name])
        assert len(ids) == count, name
        assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == digest, name
        assert js.encode(TEXTS[name]) == ids, name
        assert rust.decode(ids) == TEXTS[name], name


def test_space_prefix_bos_and_eos(node):
    metadata, _ = sentencepiece()
    changes = {"tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.add_eos_token": True}
    text, config = tokenizer_json_from_gguf({**metadata, **changes})
    for tokenizer in (open_tokenizer(text, config), in_node(node, text, config)):
        ids = tokenizer.encode("it", add_special_tokens=True)
        assert tokenizer.tokens(ids, False) == ["<s>", "▁it", "</s>"]
        assert tokenizer.decode(ids) == "it"
        # llama.cpp too puts the space after every special token.
        assert tokenizer.tokens(tokenizer.encode("it</s>it"), False) == ["▁it", "</s>", "▁it"]
        assert tokenizer.decode(tokenizer.encode(" it")) == " it"


def test_llama_bpe_adds_bos_by_default():
    metadata = byte_level_metadata("bytelevel_bpe_qwen", "llama-bpe")
    del metadata["tokenizer.ggml.add_bos_token"]
    text, config = tokenizer_json_from_gguf(metadata)
    assert config["add_bos_token"] is True
    assert open_tokenizer(text, config).encode("a", add_special_tokens=True)[0] == 1
    assert open_tokenizer(text).encode("a", add_special_tokens=True)[0] == 1


def test_user_defined_tokens_are_whole_but_not_special():
    metadata = byte_level_metadata("bytelevel_bpe_qwen", "qwen2")
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], "<think>"]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 4]
    tokenizer = open_tokenizer(tokenizer_json_from_gguf(metadata)[0])
    ids = tokenizer.encode("a<think>b")
    assert ids[1] == 600 and 600 not in tokenizer.special_ids
    assert tokenizer.decode(ids) == "a<think>b"


def test_templates_and_further_ends():
    metadata = byte_level_metadata(
        "bytelevel_bpe_qwen",
        "qwen2",
        **{
            "tokenizer.chat_template": "A",
            "tokenizer.chat_template.tool_use": "B",
            "tokenizer.ggml.eot_token_id": 0,
        },
    )
    text, config = tokenizer_json_from_gguf(metadata)
    assert config["chat_template"] == [
        {"name": "default", "template": "A"},
        {"name": "tool_use", "template": "B"},
    ]
    assert open_tokenizer(text, config).eos_ids() == [0, 2]


def test_a_tokenizer_json_inside_is_taken_as_it_is():
    own = tokenizer_json("unigram")
    assert tokenizer_json_from_gguf({"tokenizer.huggingface.json": own})[0] == own


@pytest.mark.parametrize(
    "key, value, text",
    (
        ("model", "t5", "is 't5', known: gpt2, llama"),
        ("model", None, "is None"),
        ("pre", "klingon", "'klingon', known: smollm"),
        ("tokens", None, "no list of strings"),
        ("tokens", [1, 2], "no list of strings"),
        ("tokens", [], "no list of strings"),
        ("token_type", [1], "1 token types for 600 tokens"),
        ("merges", None, "no list of pairs"),
        ("merges", ["ab"], "no list of pairs"),
        ("merges", ["a b c"], "no list of pairs"),
        ("merges", ["zz qq"], "vocabulary lacks"),
        ("bos_token_id", 600, "bos_token_id is 600"),
        ("eos_token_id", -1, "eos_token_id is -1"),
        ("unknown_token_id", "x", "is x"),
    ),
)
def test_a_vocabulary_that_lies_is_refused(key, value, text):
    metadata = byte_level_metadata("bytelevel_bpe_qwen", "qwen2")
    refused({**metadata, f"tokenizer.ggml.{key}": value}, text)


def test_sentencepiece_faults_are_refused():
    metadata, _ = sentencepiece()
    refused({**metadata, "tokenizer.ggml.scores": None}, "0 scores for 700 tokens")
    refused({**metadata, "tokenizer.ggml.scores": [0.0]}, "1 scores for 700 tokens")
    refused({}, "no list of strings")


def test_building_is_quick():
    metadata, begin = byte_level_metadata(), own_seconds()
    tokenizer_json_from_gguf(metadata)
    assert own_seconds() - begin < 2
