"""Text cut into what is spoken in one breath, whole or as it streams: both cut alike."""
import re
import unicodedata

MOST = 240     # characters of a piece: a voice model is trained on sentences
LOOK = 8       # characters behind a boundary that must be there before it counts as one
FEWEST = 24    # a piece that is cut for its length has at least so many

# behind these a full stop ends no sentence
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt vs etc e.g i.e cf al inc ltd no nr vol fig approx dept est gen"
    " col sgt capt rev hon z.b d.h u.a bzw usw ca ggf str tel abs nr bspw m.e p.ex".split())
_BOUNDARY = re.compile(
    r"[.!?\u2026]+[\"'\u2019\u201d)\]*_]{0,3}(?=\s)"              # a stop, quotes closed, a space
    r"|[\u3002\uff01\uff1f\uff1b\u0964\u061f\u06d4]+[\"'\u2019\u201d\u300d\u300f\uff09]{0,3}"
    r"|\n(?=[ \t]{0,3}(?:\n|[-*\u2022#>]|\d{1,2}[.)]))")         # a paragraph or a list's line
_CLAUSE = re.compile(r"[,;:\u2014\u2013\u3001\uff0c]\s*|\s+")
_URL = re.compile(r"(?:https?://|www\.)([^\s/?#<>\"')\]]+)[^\s<>\"']*", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
_MARKS = re.compile(r"`+|\*\*+|__+|~~+|(?m:^[ \t]*(?:#{1,6}|>|[-*\u2022])[ \t]+)|\|")
_KEPT = frozenset("\u00b0\u00a9\u00ae\u2122\u2116\u2103\u2109")
_DROPPED = frozenset(("So", "Sk", "Cs", "Co", "Cn", "Cf", "Cc"))


def speakable(text):
    """What of a text can be said: addresses become their host, emoji and Markdown's marks go, white
    space becomes single spaces. "" where nothing is left to say."""
    text = _URL.sub(_host, _LINK.sub(r"\1", text))
    text = "".join(_kept(c) for c in _MARKS.sub("", text))
    text = " ".join(text.split())
    return text if any(c.isalnum() for c in text) else ""


def _host(match):
    """The host of an address, with the punctuation that ended the sentence."""
    tail = re.search(r"[.,;:!?]*$", match[0])[0]
    host = match[1].rpartition("@")[2].split(":")[0].rstrip(".,;!?")
    return host.removeprefix("www.") + tail


def _kept(c):
    if c in "\n\t" or c in _KEPT:
        return c
    dropped = unicodedata.category(c) in _DROPPED or "\ufe00" <= c <= "\ufe0f"
    return " " if dropped else c


def _abbreviated(text, end):
    """Whether the full stop before `end` belongs to an abbreviation, an initial or a list's
    number."""
    word = re.search(r"([^\s(\"'\u201c]*)\.$", text[:end])
    if word is None:
        return False
    found = word[1].lower()
    whole = text[:word.start()].strip() == ""
    return (found in ABBREVIATIONS or len(found) == 1 and found.isalpha()
            or whole and found.isdigit())


class Sentences:
    """`push(text)` -> pieces that are complete; `finish()` -> the rest. Pieces are as they were
    written, but for white space around them; none is empty."""

    def __init__(self, most=MOST):
        self._text, self._most = "", most

    def push(self, text):
        """More of the text."""
        self._text += text
        return self._cut(LOOK)

    def finish(self):
        """The end: what waited for more is complete."""
        found = self._cut(0)
        rest, self._text = self._text.strip(), ""
        return found + [rest] * bool(rest)

    def _cut(self, look):
        found = []
        while (end := self._end(look)) is not None:
            piece, self._text = self._text[:end].strip(), self._text[end:].lstrip()
            found += [piece] * bool(piece)
        return found

    def _end(self, look):
        """Where the first piece ends, or None while that cannot be told."""
        text = self._text
        window = text[:self._most + LOOK]
        for match in _BOUNDARY.finditer(window):
            if match.end() > self._most:
                break
            if match.end() + look > len(text):
                return None
            if not _abbreviated(text, match.end()):
                return match.end()
        if len(text) < self._most + LOOK:
            return None
        cuts = [m.end() for m in _CLAUSE.finditer(window, FEWEST, self._most)]
        strong = [at for at in cuts if text[:at].rstrip()[-1] in ",;:\u2014\u2013\u3001\uff0c"]
        return (strong or cuts or [self._most])[-1]


def split(text, most=MOST):
    """A whole text's pieces."""
    stream = Sentences(most)
    return stream.push(text) + stream.finish()
