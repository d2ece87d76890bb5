"""Ids to text while they arrive: whole code points only, and nothing of a stop string."""

from bisect import bisect_left
from dataclasses import dataclass

from pyengine.errors import EngineError

MAX_STOPS = 16
MAX_STOP_LENGTH = 1024


@dataclass(frozen=True)
class TextPiece:
    """`text` is safe to show; `stopped` says that a stop string was met; `kept_ids` counts the ids,
    from the first, that produced the text shown so far (the id that completes its last character
    included)."""

    text: str
    stopped: bool
    kept_ids: int


class TextStream:
    """Streamed text equals `tokenizer.decode(all ids)` up to the first stop string, for every split
    of the ids.

    The first stop string is the one that begins first: when one is complete while an earlier
    beginning of another is still open, the decision waits. With `continues`, the ids follow a
    prompt (rules for the first token of a text, such as a dropped leading space, do not apply).
    Special tokens are left out but for the ids in `visible`.
    Raises E_BAD_REQUEST for a stop list that is not up to 16 non-empty strings of up to 1024
    characters.
    """

    def __init__(self, tokenizer, stop=(), continues=False, visible=frozenset()):
        self._tokenizer = tokenizer
        self._stops = check_stops(stop)
        self._visible = visible
        self._decoder = tokenizer.detokenizer(continues)
        self._held = ""  # decoded, but perhaps the beginning of a stop string
        self._shown = 0  # characters given out
        self._ends = []  # per id: characters decoded once it was pushed
        self._decoded = 0
        self.stopped = False

    @property
    def kept_ids(self):
        """Ids, from the first, that the text given out needs."""
        return bisect_left(self._ends, self._shown) + 1 if self._shown else 0

    def push(self, ids):
        """Takes the next ids; returns the `TextPiece` that is certain now. After a stop, pieces are
        empty."""
        if self.stopped:
            return TextPiece("", True, self.kept_ids)
        new = []
        for token_id in ids:
            shown = {"skip_special_tokens": False} if token_id in self._visible else {}
            tokens = self._tokenizer.tokens([token_id], **shown)
            text = "".join(map(self._decoder.push, tokens))
            new.append(text)
            self._decoded += len(text)
            self._ends.append(self._decoded)
        return self._emit("".join(new), last=False)

    def finish(self):
        """The rest of the text once no id follows: what was held, cut at a stop string if one is
        there."""
        if self.stopped:
            return ""
        text = self._decoder.flush()
        self._decoded += len(text)
        if self._ends:
            self._ends[-1] = self._decoded
        return self._emit(text, last=True).text

    def _emit(self, new, last):
        text = self._held + new
        found = min((at for at in map(text.find, self._stops) if at >= 0), default=len(text))
        opened = len(text) if last else self._first_open(text)
        end = min(found, opened)
        self.stopped = found < len(text) and found <= opened
        self._held = "" if self.stopped else text[end:]
        self._shown += end
        return TextPiece(text[:end], self.stopped, self.kept_ids)

    def _first_open(self, text):
        """Where the earliest suffix of `text` that a stop string could still continue begins."""
        first = len(text)
        for stop in self._stops:
            at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
            while -1 < at < first and not stop.startswith(text[at:]):
                at = text.find(stop[0], at + 1)
            if at != -1:
                first = min(first, at)
        return first


def check_stops(stop):
    """A stop parameter (None, a string, or a list of strings) as a list. Raises E_BAD_REQUEST."""
    wanted = f"up to {MAX_STOPS} non-empty strings of up to {MAX_STOP_LENGTH} characters"
    if stop is not None and not isinstance(stop, (str, list, tuple)):
        raise EngineError("E_BAD_REQUEST", param="stop", got=type(stop).__name__, wanted=wanted)
    stops = [] if stop is None else [stop] if isinstance(stop, str) else list(stop)
    if len(stops) > MAX_STOPS:
        raise EngineError("E_BAD_REQUEST", param="stop", got=f"{len(stops)} strings", wanted=wanted)
    for entry in stops:
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_STOP_LENGTH:
            got = f"a string of {len(entry)}" if isinstance(entry, str) else repr(entry)[:80]
            raise EngineError("E_BAD_REQUEST", param="stop", got=got, wanted=wanted)
    return stops
