"""Llama 3.1 to 3.3: the whole answer is `{"name": "f", "parameters": {...}}`, several separated by
`;`, or the same behind `<|python_tag|>`."""

import json

from app.tools import grammar
from app.tools.base import (MAX_BODY, MAX_CALLS, MAX_DEPTH, MAX_FAILURES, Call, Unreadable, held,
                            merged, object_call, parse_json)
from app.tools.pythonic import read_calls

TAG = "<|python_tag|>"
FRAME = grammar.Frame("", "", "; ", "")
_SPACE = " \t\r\n"


class Parser:
    """As `base.MarkedParser`. An object without a tag is a call only where an answer begins with
    it, and only of a tool that was offered: an answer may well be JSON."""

    def __init__(self, tools, thinking=False):
        self.tools = tools
        self._text = ""
        self._state = "thinking" if thinking else "start"
        self._scan = None
        self._calls = self._failures = 0

    def push(self, text):
        """Events that are certain with the answer's next `text`."""
        self._text += text
        return self._events(last=False)

    def finish(self):
        """Events of what was held, once the answer is over."""
        return self._events(last=True)

    def _events(self, last):
        events = []
        while getattr(self, "_" + self._state)(events, last):
            pass
        if last:
            self._release(events, len(self._text))
        return merged(events)

    def _thinking(self, events, last):
        at = self._text.find("</think>")
        if at < 0:
            self._release(events, len(self._text) - (0 if last else held(self._text, ["</think>"])))
            return False
        self._release(events, at + len("</think>"))
        self._state = "start"
        return True

    def _start(self, events, last):
        """At the beginning, or behind a call."""
        rest = self._text.lstrip(_SPACE + (";," if self._calls else ""))
        if not rest or (not last and rest != TAG and TAG.startswith(rest)):
            return False
        if self._calls >= MAX_CALLS or not rest.startswith(("{", TAG)):
            self._state = "plain"
            return True
        self._state, self._scan = ("object", _End(len(self._text) - len(rest)))
        if rest.startswith(TAG):
            self._state = "tagged"
        return True

    def _object(self, events, last):
        end = self._scan.find(self._text)
        if end is None and not last:
            return False
        try:
            call = object_call(parse_json(self._text[self._scan.begin : end]))
        except Unreadable:
            call = None
        if not end or call is None or call.name not in self.tools:
            self._failures += 1
            self._release(events, self._scan.begin)  # a tag before it too
            self._state = "over" if self._failures >= MAX_FAILURES else "plain"
            return True
        self._keep(events, [call], end)
        return True

    def _tagged(self, events, last):
        """JSON ends where it ends; Python, a call of a built-in tool, ends with the answer."""
        begin = self._text.index(TAG) + len(TAG)
        rest = self._text[begin:].lstrip(_SPACE)
        if not rest and not last:
            return False
        if rest.startswith("{"):
            self._state, self._scan = "object", _End(len(self._text) - len(rest))
            return True
        if not last and len(self._text) - begin <= MAX_BODY:
            return False
        try:
            calls = read_calls(self._text[begin : begin + MAX_BODY], self.tools)
        except Unreadable:
            calls = []
        if not calls or len(self._text) - begin > MAX_BODY:
            self._state = "over"
            return True
        self._keep(events, calls, len(self._text))
        return True

    def _plain(self, events, last):
        """The answer's own text, up to a tag."""
        at = self._text.find(TAG)
        if at < 0:
            self._release(events, len(self._text) - (0 if last else held(self._text, [TAG])))
            return False
        self._release(events, at)
        self._state = "over" if self._calls >= MAX_CALLS else "tagged"
        return True

    def _over(self, events, last):
        self._release(events, len(self._text))
        return False

    def _keep(self, events, calls: list[Call], end):
        events.extend(calls[: MAX_CALLS - self._calls])
        self._calls += len(calls)
        self._text = self._text[end:]
        self._state = "start"

    def _release(self, events, count):
        events.append(self._text[:count])
        self._text = self._text[count:]


class _End:
    """Where the JSON object that begins at `begin` ends, found in one pass over a growing text."""

    def __init__(self, begin):
        self.begin = self._at = begin
        self._depth, self._string, self._escape = 0, False, False

    def find(self, text):
        """The index behind the object; 0 where it never ends; None: more text is needed."""
        while self._at < len(text):
            char = text[self._at]
            self._at += 1
            if self._string:
                self._string = self._escape or char != '"'
                self._escape = char == "\\" and not self._escape
                continue
            self._string = char == '"'
            self._depth += (char in "{[") - (char in "}]")
            if self._depth == 0:
                return self._at
            if self._depth > MAX_DEPTH or self._at - self.begin > MAX_BODY:
                return 0
        return None


def call_rules(rules, functions):
    """[rule] of a call of each function, as grammars for a demanded call need them."""
    return grammar.json_calls(rules, functions, "parameters")


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return "; ".join(
        json.dumps({"name": name, "parameters": arguments}, ensure_ascii=False)
        for name, arguments in calls
    )
