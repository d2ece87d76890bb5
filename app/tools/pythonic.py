"""Calls written as Python, `f(a=1, b="x")`: a reader of just that, which evaluates nothing.

Only literals are values. Strings are decoded one token at a time, so that no hostile text reaches
Python's own parser.
"""

import ast
import json
import re

from app.tools import grammar
from app.tools.base import MAX_DEPTH, MarkedParser, Unreadable, json_calls, make_call

_STRING = (
    r'[rRuU]?(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\''
    r'|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')'
)
_TOKEN = re.compile(
    rf"\s*(?:(?P<string>{_STRING})|(?P<number>[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[^\W\d][\w\-]*(?:\.[^\W\d][\w\-]*)*)|(?P<punct>[\[\](){},:=;]))",
    re.DOTALL,
)
_CONSTANTS = {"True": True, "true": True, "False": False, "false": False, "None": None,
              "null": None}
_END = ("end", "")


def read_calls(text, tools=None):
    """[Call] of `f(a=1)`, of several in a list or on lines of their own, also inside `print()`.
    Arguments without a name take those of `tools` ({name: schema}). Raises Unreadable."""
    reader = _Reader(text, tools or {})
    calls = []
    while reader.token != _END:
        if reader.takes("["):
            calls += reader.sequence("]", reader.call)
        else:
            calls.append(reader.call())
        while reader.takes(",") or reader.takes(";"):
            pass
    return calls


def read_literal(text):
    """The value of one Python literal. Raises Unreadable."""
    reader = _Reader(text, {})
    value = reader.value()
    if reader.token != _END:
        raise Unreadable("more than a value")
    return value


def write_call(name, arguments):
    """`f(a='x', n=1)` of a name and a dict."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def call_rules(rules, functions):
    """[rule] of a call of each function, as grammars for a demanded call need them: of JSON where
    a name is none of Python's, or a schema says more than names and types."""
    fields = [function.fields() for function in functions]
    names = [function.name for function in functions]
    names += [name for found in fields if found is not None for name, _, _ in found]
    if None in fields or not all(map(_is_name, names)):
        return grammar.json_calls(rules, functions, "arguments")
    found = []
    for function, its in zip(functions, fields):
        def written(name, schema, param=function.param):
            return f'{grammar.literal(name + "=")} {rules.value(schema, param)}'

        listed = rules.fields(its, ", ", written)
        found.append(rules.add(f'{grammar.literal(function.name + "(")} {listed} ")"'))
    return found


def _is_name(name):
    found = _TOKEN.fullmatch(name)
    return found is not None and found.group("name") == name and name not in _CONSTANTS


class PythonicParser(MarkedParser):
    """Of marked Python calls, or of JSON, which models write when their prompt asks for it."""

    def read(self, body):
        try:
            return read_calls(body, self.tools)
        except Unreadable:
            return json_calls(body.strip())


class _Reader:
    """Recursive descent over tokens, at most MAX_DEPTH deep."""

    def __init__(self, text, tools):
        self._text, self._tools, self._at, self._depth = text, tools, 0, 0
        self.token = self._next()

    def _next(self):
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            if self._text[self._at :].strip():
                raise Unreadable(f"character {self._at}")
            return _END
        self._at = match.end()
        return match.lastgroup, match.group(match.lastgroup)

    def takes(self, punct):
        """Whether the next token is `punct`, which is then gone."""
        if self.token != ("punct", punct):
            return False
        self.token = self._next()
        return True

    def _need(self, punct):
        if not self.takes(punct):
            raise Unreadable(f"{punct!r} before character {self._at}")

    def _take(self, kind):
        found, text = self.token
        if found != kind:
            raise Unreadable(f"a {kind} before character {self._at}")
        self.token = self._next()
        return text

    def sequence(self, closing, item):
        """What `item` reads, separated by commas, up to `closing`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too deep")
        items = []
        while not self.takes(closing):
            items.append(item())
            if not self.takes(","):
                self._need(closing)
                break
        self._depth -= 1
        return items

    def call(self):
        """One call, its module's name and a `print` around it left out."""
        name = self._take("name")
        self._need("(")
        if name == "print" and "print" not in self._tools and self.token[0] == "name":
            (call,) = self.sequence(")", self.call)[:1] or [None]
            if call is None:
                raise Unreadable("an empty print")
            return call
        if name not in self._tools:
            name = name.removesuffix(".call").rpartition(".")[2]
        given = self.sequence(")", self._argument)
        return make_call(name, self._named(name, given))

    def _argument(self):
        kind, text = self.token
        if kind == "name" and text not in _CONSTANTS:
            self._take("name")
            self._need("=")
            return text, self.value()
        return None, self.value()

    def _named(self, name, given):
        properties = (self._tools.get(name) or {}).get("properties")
        free = list(properties) if isinstance(properties, dict) else []
        arguments = {}
        for i, (key, value) in enumerate(given):
            if key is None:
                if i >= len(free):
                    raise Unreadable("an argument without a name")
                key = free[i]
            arguments[key] = value
        return arguments

    def value(self):
        """A literal."""
        kind, text = self.token
        if self.takes("["):
            return self.sequence("]", self.value)
        if self.takes("("):
            return self.sequence(")", self.value)
        if self.takes("{"):
            return dict(self.sequence("}", self._pair))
        if kind == "string":
            return self._strings()
        if kind == "number":
            return _number(self._take("number"))
        if kind == "name" and text in _CONSTANTS:
            self.token = self._next()
            return _CONSTANTS[text]
        raise Unreadable(f"a value before character {self._at}")

    def _pair(self):
        key = self.value()
        self._need(":")
        if not isinstance(key, (str, int, float)) or isinstance(key, bool):
            raise Unreadable("a key")
        return str(key), self.value()

    def _strings(self):
        parts = []
        while self.token[0] == "string":  # neighbours are one string
            text = self._take("string")
            parts.append(_string(text))
        return "".join(parts)


def _string(token):
    """A string's value. One that JSON can read is JSON's: it spells emoji as two halves."""
    try:
        return json.loads(token)
    except ValueError:
        pass
    try:
        return ast.literal_eval(_escaped(token))
    except (ValueError, SyntaxError, MemoryError) as error:
        raise Unreadable(str(error)) from None


def _escaped(token):
    """A line break inside single quotes, which models write and Python refuses, as an escape."""
    if token[:3] in ('"""', "'''") or token[1:4] in ('"""', "'''"):
        return token.replace("\0", "\\0")
    return token.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")


def _number(text):
    try:
        plain = text.replace("_", "")
        return int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    except ValueError as error:
        raise Unreadable(str(error)) from None
