"""What all formats share: calls, limits, and a parser of text with marked bodies in it.

A parser takes an answer in any pieces, by `push(text)` and at last `finish()`, both of which return
events: a `str` of the answer's own text, or a `Call`. What comes out does not depend on how the
answer was cut. A call is told when it is whole, so that one that cannot be read stays text rather
than half a call. Models write what they like, hence the limits; nothing is ever evaluated.
"""

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

MAX_BODY = 64_000  # characters between the markers of a call
MAX_CALLS = 32  # of one answer; further ones stay text
MAX_FAILURES = 16  # bodies that cannot be read, after which all is text
MAX_DEPTH = 32  # of lists and objects in each other
NAME = re.compile(r"[\w.\-]{1,128}\Z")
_THINK, _THOUGHT = "<think>", "</think>"
_QUOTES = re.compile(r"""\\.?|\"\"\"|'''|[\"']""", re.DOTALL)
_BRACKETS = re.compile(r"\\.?|[\"\[\]{}()]", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A call as the model wrote it; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class Unreadable(ValueError):
    """A body that is no call."""


def make_call(name, arguments):
    """A Call. Raises Unreadable for a name that is none, arguments that are no object, and values
    that JSON or UTF-8 cannot hold."""
    if not isinstance(name, str) or not NAME.match(name):
        raise Unreadable("the name")
    if isinstance(arguments, str):  # some models write the object as a string of JSON
        arguments = parse_json(arguments) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise Unreadable("the arguments")
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    return Call(name, text)


def _refuse_constant(name):
    raise Unreadable(name)


def parse_json(text):
    """The value of a JSON text. Raises Unreadable, also for nesting deeper than MAX_DEPTH."""
    check_depth(text)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def check_depth(text):
    """Raises Unreadable before a recursive reader would have to go too deep."""
    depth, string = 0, False
    for match in _BRACKETS.finditer(text):
        char = match.group()
        string ^= char == '"'
        if not string:
            depth += (char in "[{(") - (char in "]})")
            if depth > MAX_DEPTH:
                raise Unreadable("too deep")


def json_calls(text):
    """[Call] of one object {"name", "arguments" or "parameters"}, of a list of them, or of several
    behind each other. Raises Unreadable."""
    check_depth(text)
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    calls, at = [], 0
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            for entry in value if isinstance(value, list) else [value]:
                calls.append(object_call(entry))
            at = _skip(text, at)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    return calls


def _skip(text, at):
    while at < len(text) and text[at] in " \t\r\n,;":
        at += 1
    return at


def object_call(entry):
    """The Call of {"name", "arguments" or "parameters"}. Raises Unreadable."""
    if isinstance(entry, dict) and isinstance(entry.get("function"), dict):
        entry = entry["function"]
    if not isinstance(entry, dict):
        raise Unreadable("no object")
    given = [entry[key] for key in ("arguments", "parameters") if key in entry]
    return make_call(entry.get("name"), given[0] if given else {})


class Quotes:
    """Follows a growing text, to tell whether it ends inside a string of JSON or Python. One pass,
    however often it is asked."""

    def __init__(self):
        self._open = ""

    def inside(self, more):
        """Whether the text ends inside a string, `more` being what it grew by."""
        for match in _QUOTES.finditer(more):
            found = match.group()
            if found[0] == "\\":
                continue
            if not self._open:
                self._open = found
            elif found.startswith(self._open):  # ''' behind one quote: its end, and an empty string
                self._open = ""
        return bool(self._open)


def held(text, markers):
    """How many characters at the end of `text` may be the beginning of a marker."""
    longest = 0
    for marker in markers:
        for n in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:n]):
                longest = n
                break
    return longest


class MarkedParser(ABC):
    """Calls between markers. A format gives `markers` {opening: closing}, `read` and, where values
    are raw text, `closed(body, quoted)`: closing markers inside quoted strings end nothing anyway.

    `tools`: {name: parameters' schema or None}. `thinking`: the prompt has opened a thought, in
    which nothing is a call.
    """

    markers = {}

    def __init__(self, tools, thinking=False):
        self.tools = tools
        self._text = ""  # not yet decided
        self._opening = None  # the marker whose body is being read
        self._from = 0  # where to look for its end
        self._quotes, self._seen = Quotes(), 0  # up to where it was followed
        self._thinking = thinking
        self._calls = self._failures = 0

    @abstractmethod
    def read(self, body):
        """[Call] of what is between two markers. Raises Unreadable."""

    def closed(self, body, quoted):
        """Whether the closing marker behind `body` ends it. `quoted`: `body` ends inside a
        string."""
        return not quoted

    def push(self, text):
        """Events that are certain with the answer's next `text`."""
        self._text += text
        events = []
        while self._step(events, last=False):
            pass
        return merged(events)

    def finish(self):
        """Events of what was held, once the answer is over."""
        events = []
        while self._step(events, last=True):
            pass
        events.append(self._text)
        self._text = ""
        return merged(events)

    def _step(self, events, last):
        """One decision; -> whether there may be another."""
        if self._thinking:
            return self._think(events, last)
        if self._opening is None:
            return self._open(events, last)
        return self._close(events, last)

    def _think(self, events, last):
        at = self._text.find(_THOUGHT)
        if at < 0:
            self._release(events, len(self._text) - (0 if last else held(self._text, [_THOUGHT])))
            return False
        self._release(events, at + len(_THOUGHT))
        self._thinking = False
        return True

    def _open(self, events, last):
        full = self._calls >= MAX_CALLS or self._failures >= MAX_FAILURES
        markers = [] if full else [*self.markers, _THINK]
        found = [(self._text.find(m), -len(m), m) for m in markers if m in self._text]
        if not found:
            self._release(events, len(self._text) - (0 if last else held(self._text, markers)))
            return False
        at, _, marker = min(found)
        self._release(events, at)
        if marker == _THINK:
            self._release(events, len(_THINK))
            self._thinking = True
        else:
            self._opening, self._from, self._seen = marker, len(marker), len(marker)
            self._quotes = Quotes()
        return True

    def _close(self, events, last):
        closing = self.markers[self._opening]
        start, limit = len(self._opening), len(self._opening) + MAX_BODY
        at = self._text.find(closing, self._from, limit + len(closing))
        if at >= 0:
            quoted = self._quotes.inside(self._text[self._seen : at])
            self._seen = at
            if not self.closed(self._text[start:at], quoted):
                self._from = at + len(closing)
                return True
            self._take(events, self._text[start:at], at + len(closing))
            return True
        if not last and len(self._text) < limit + len(closing):
            self._from = max(self._from, len(self._text) - len(closing) + 1)
            return False
        # over, or too long: some models leave the closing marker out
        whole = last and len(self._text) <= limit
        self._take(events, self._text[start:] if whole else None, len(self._text))
        return True

    def _take(self, events, body, end):
        try:
            calls = self.read(body) if body is not None else []
        except Unreadable:
            calls = []
        opening, self._opening = self._opening, None
        if not calls:
            self._failures += 1
            self._release(events, len(opening))  # text; what follows may still be a call
            return
        events.extend(calls[: MAX_CALLS - self._calls])
        self._calls += len(calls)
        self._text = self._text[end:]

    def _release(self, events, count):
        events.append(self._text[:count])
        self._text = self._text[count:]


def merged(events):
    """`events` with neighbouring texts joined and empty ones left out."""
    out = []
    for event in events:
        if isinstance(event, str) and out and isinstance(out[-1], str):
            out[-1] += event
        elif event != "":
            out.append(event)
    return out
