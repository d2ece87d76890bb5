"""Streamed text equals one-shot text, for random ids, splits and stop strings, and for every
decoder."""

import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

from pyengine.errors import EngineError
from pyengine.text.detokenize import Detokenizer
from pyengine.text.stream import TextStream
from tests.support import own_seconds
from tests.text.backends import KINDS, native
from tests.text.corpus import TEXTS, long_mix

HYPOTHESIS = settings(max_examples=150, deadline=None, derandomize=True)


def cut_at_stop(text, stops):
    found = [at for at in map(text.find, stops) if at >= 0]
    return text[: min(found)] if found else text


def stream(tokenizer, ids, cuts, stops, **options):
    """(text, stream), fed in pieces that end at `cuts`."""
    out, text, start = TextStream(tokenizer, stops, **options), "", 0
    for end in [*sorted(cuts), len(ids)]:
        text += out.push(ids[start:end]).text
        start = max(start, end)
    return text + out.finish(), out


@st.composite
def generations(draw, tokenizer):
    """Ids (random ones, and real text with its characters cut), splits, and stops made from the
    text."""
    pool = tokenizer.encode(draw(st.sampled_from(list(TEXTS.values())))[:60])
    one = st.integers(0, min(tokenizer.vocab_size, 600) - 1)
    ids = draw(st.lists(st.one_of(one, st.sampled_from(pool or [0])), max_size=30))
    ids += pool[draw(st.integers(0, 5)) : draw(st.integers(0, 40))]
    cuts = draw(st.lists(st.integers(0, len(ids)), max_size=8))
    text = tokenizer.decode(ids)
    piece = st.builds(
        lambda a, n: text[a : a + n] or "x",
        st.integers(0, max(0, len(text) - 1)),
        st.integers(1, 6),
    )
    stops = draw(st.lists(st.one_of(piece, st.text("ab \n", min_size=1, max_size=3)), max_size=4))
    return ids, cuts, stops


@pytest.mark.parametrize("kind", KINDS)
@HYPOTHESIS
@given(data=st.data())
def test_streamed_equals_one_shot(kind, data):
    tokenizer = native(kind)
    ids, cuts, stops = data.draw(generations(tokenizer))
    whole = tokenizer.decode(ids)
    text, out = stream(tokenizer, ids, cuts, stops)
    assert text == cut_at_stop(whole, stops)
    assert out.stopped == (text != whole)
    assert tokenizer.decode(ids[: out.kept_ids]).startswith(text) or out.kept_ids == len(ids)
    # No shorter run of ids gives the text for certain.
    early = TextStream(tokenizer)
    assert len(early.push(ids[: max(0, out.kept_ids - 1)]).text) < max(1, len(text))


@pytest.mark.parametrize("kind", KINDS)
@HYPOTHESIS
@given(data=st.data())
def test_nothing_shown_is_ever_taken_back(kind, data):
    tokenizer = native(kind)
    ids, _, stops = data.draw(generations(tokenizer))
    wanted, out, text = cut_at_stop(tokenizer.decode(ids), stops), TextStream(tokenizer, stops), ""
    for token_id in ids:
        text += out.push([token_id]).text
        assert wanted.startswith(text)
    assert text + out.finish() == wanted
    assert out.push(ids).text == "" if out.stopped else True


@pytest.mark.parametrize(
    "kind, prompt, ids",
    [
        ("spm_bpe_bytefallback_gemma", "a", None),
        ("unigram", "it", None),
        ("wordpiece", "it", None),
        ("bytelevel_bpe_qwen", "it", None),
    ],
)
def test_a_continuation_keeps_its_leading_space(kind, prompt, ids):
    tokenizer = native(kind)
    before, after = tokenizer.encode(prompt), tokenizer.encode("the def")
    text, _ = stream(tokenizer, after, [1, 3], [], continues=True)
    assert tokenizer.decode(before) + text == tokenizer.decode(before + after)


def test_special_tokens_are_shown_where_they_are_asked_for():
    class Marked:
        special_ids = {7}

        def tokens(self, ids, skip_special_tokens=True):
            return ["<call>" if i == 7 else "x" for i in ids
                    if not (skip_special_tokens and i == 7)]

        def detokenizer(self, continues):
            return SimpleNamespace(push=str, flush=str)

    assert TextStream(Marked()).push([1, 7, 1]).text == "xx"
    assert TextStream(Marked(), visible=frozenset([7])).push([1, 7, 1]).text == "x<call>x"


def test_a_character_waits_for_its_last_byte():
    tokenizer = native("smollm2")
    ids = tokenizer.encode("🙂!")
    out = TextStream(tokenizer)
    shown = [out.push([i]).text for i in ids]
    assert "".join(shown) == "🙂!"
    assert shown[0] == "" and "\ufffd" not in "".join(shown)
    cut = TextStream(tokenizer)
    assert cut.push(ids[:1]).text == ""
    assert cut.finish() == tokenizer.decode(ids[:1]) == "\ufffd"


def test_a_stop_string_is_held_then_dropped_or_released():
    tokenizer = native("smollm2")
    out = TextStream(tokenizer, ["\nUser:"])
    assert out.push(tokenizer.encode("hi\n")).text == "hi"
    assert out.push(tokenizer.encode("User")).text == ""
    assert out.push(tokenizer.encode(" name")).text == "\nUser name"
    piece = out.push(tokenizer.encode("\nUser: more"))
    assert (piece.text, piece.stopped, out.finish()) == ("", True, "")
    assert piece.kept_ids == len(
        tokenizer.encode("hi\n") + tokenizer.encode("User") + tokenizer.encode(" name")
    )


def test_the_stop_string_that_begins_first_wins():
    tokenizer = native("smollm2")
    for text, stops, kept in (
        ("abcd", ["bc", "abcd"], ""),
        ("abcx", ["bc", "abcd"], "a"),
        ("abc", ["bc", "abcd"], "a"),
    ):
        ids = [i for c in text for i in tokenizer.encode(c)]
        assert stream(tokenizer, ids, range(len(ids)), stops)[0] == kept


@pytest.mark.parametrize("stop", (["a"] * 17, [""], ["x" * 1025], [3], 3, {"a": 1}))
def test_bad_stop_lists_are_refused(stop):
    with pytest.raises(EngineError) as caught:
        TextStream(native("smollm2"), stop)
    assert caught.value.code == "E_BAD_REQUEST"


def test_a_stop_may_be_one_string_or_nothing():
    tokenizer = native("smollm2")
    assert stream(tokenizer, tokenizer.encode("a b"), [], " b")[0] == "a"
    assert stream(tokenizer, tokenizer.encode("a b"), [], None)[0] == "a b"


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_linear_in_the_output(kind):
    tokenizer = native(kind)
    ids = tokenizer.encode(long_mix(60_000, seed=5))
    tokenizer.decode(ids)  # fills the lookup of token strings

    def seconds(n):
        out, begin = TextStream(tokenizer, ["<stop>", "aaaaaaab"]), own_seconds()
        for token_id in ids[:n]:
            out.push([token_id])
        out.finish()
        return own_seconds() - begin

    size = len(ids) // 8
    small, large = min(seconds(size) for _ in range(3)), min(seconds(8 * size) for _ in range(2))
    assert large < 8 * 3 * small + 0.05, (small, large)


DECODERS = {
    "none": None,
    "bytes": decoders.ByteLevel(),
    "llama": decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    ),
    "gemma": decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    ),
    "fused first": decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")]
    ),
    "metaspace": decoders.Metaspace(),
    "metaspace never": decoders.Metaspace(prepend_scheme="never"),
    "metaspace, bytes": decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback()]),
    "wordpiece": decoders.WordPiece(),
    "wordpiece, as it is": decoders.WordPiece(cleanup=False),
    "suffix": decoders.BPEDecoder("</w>"),
    "strip both ends": decoders.Sequence([decoders.Fuse(), decoders.Strip("x", 2, 3)]),
    "strip each": decoders.Strip("x", 1, 1),
}
PIECES = [
    "▁",
    "▁▁a",
    "a▁",
    "<0xE6>",
    "<0x97>",
    "<0xA5>",
    "<0xFF>",
    "<0x0A>",
    "<0xZZ>",
    "##a",
    "##",
    "n't",
    " .",
    ",",
    "'s",
    "b</w>",
    "</w>",
    "xxxxaxxxx",
    "xa",
    "ax",
    "Ġ",
    "æ",
    "Ĺ",
    "¥",
    "日",
    " ",
    " do not",
]


@pytest.mark.parametrize("name", DECODERS)
@HYPOTHESIS
@given(tokens=st.lists(st.sampled_from(PIECES), max_size=12))
def test_each_decoder_equals_rust(name, tokens):
    decoder = DECODERS[name]
    if decoder is None:
        wanted, config = " ".join(tokens), None
    else:
        wanted, config = (
            decoder.decode(tokens) if tokens else "",
            json.loads(decoder.__getstate__()),
        )
    ours = Detokenizer(config)
    assert "".join([ours.push(token) for token in tokens]) + ours.flush() == wanted


def test_no_decoder_joins_with_spaces_as_rust():
    rust = RustTokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    ours = Detokenizer(None)
    assert ours.push("a") + ours.push("b") + ours.flush() == rust.decode([0, 1]) == "a b"


def test_a_random_run_of_bytes_equals_rust():
    rust, random_ = DECODERS["bytes"], random.Random(11)
    alphabet = [native("smollm2").id_to_token(i) for i in range(17, 260)]
    for size in (1, 7, 83, 769):
        tokens = random_.choices(alphabet, k=size)
        ours = Detokenizer({"type": "ByteLevel"})
        assert "".join([ours.push(token) for token in tokens]) + ours.flush() == rust.decode(tokens)
