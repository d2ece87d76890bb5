"""Where text is cut for speaking: whole and streamed alike."""
import random

import pytest

from pyengine.audio.sentences import MOST, Sentences, speakable, split

TEXT = ('Dr. Smith paid 3.14 dollars (e.g. in cash). "Really?" she asked. See https://a.org/b.c?d=e. OK '
        "\U0001f600!\n\n- first item\n- second item\n\u4f60\u597d\u3002\u4e16\u754c\uff01 J. R. R. Tolkien wrote "
        "it\u2026 1. One thing. Ends here")


def test_sentences():
    assert split(TEXT) == [
        "Dr. Smith paid 3.14 dollars (e.g. in cash).", '"Really?"', "she asked.",
        "See https://a.org/b.c?d=e.", "OK \U0001f600!", "- first item", "- second item\n\u4f60\u597d\u3002",
        "\u4e16\u754c\uff01", "J. R. R. Tolkien wrote it\u2026", "1. One thing.", "Ends here"]


@pytest.mark.parametrize("most", [30, 60, MOST])
def test_a_stream_is_cut_as_the_whole(most):
    rng, text = random.Random(most), 3 * (TEXT + " " + "word, " * 40 + "x" * 83 + "\n\n")
    for _ in range(60):
        stream, found, at = Sentences(most), [], 0
        while at < len(text):
            size = rng.randint(1, 17)
            found += stream.push(text[at:at + size])
            at += size
        assert found + stream.finish() == split(text, most)


def test_long_texts_are_cut_to_size_and_whole():
    words = [f"word{i}" for i in range(5000)]
    for text in (" ".join(words), ", ".join(words), "".join(words), ". ".join(words)):
        pieces = split(text)
        assert all(0 < len(piece) <= MOST for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize("text, said", [
    ("See https://www.example.com/a/b?c=d.", "See example.com."), ("go to www.x.org!", "go to x.org!"),
    ("http://user:pw@h.net:8080/", "h.net"), ("[the page](https://a.b/c)", "the page"),
    ("\U0001f389\U0001f469\u200d\U0001f4bb\ufe0f", ""), ("5 \u20ac at 20\u00b0C + 1", "5 \u20ac at 20\u00b0C + 1"),
    ("**Bold** and `code` | __x__", "Bold and code x"), ("# Title\n> quoted", "Title quoted"),
    ("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0645\u0631\u062d\u0628\u0627", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0645\u0631\u062d\u0628\u0627"),
    ("...", ""), ("\x00a\tb\r\nc", "a b c"), ("\ud800 a", "a"), ("", "")])
def test_what_can_be_said(text, said):
    assert speakable(text) == said
