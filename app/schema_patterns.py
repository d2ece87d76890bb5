"""Patterns and lengths of a JSON schema's strings, and names of properties, written for the text
that JSON spells them with: XGrammar 0.1.27 puts a pattern and a name between the quotes as they
are, so that `.` would let a quote or a control character pass, and `a|b` would lose a quote of its
own."""

import json
from bisect import bisect_right

from app.schema_walk import rebuilt

LAST = 0x10FFFF
# never themselves inside a JSON string, or no character
UNSAFE = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF))
SPELLED = {'"': '\\\\"', "\\": "\\\\\\\\",
           "\n": "\\\\n", "\r": "\\\\r", "\t": "\\\\t", "\f": "\\\\f"}
QUOTED = ('"', "\\")  # of a negated class: its control characters are left out
PLAIN = '[^"\\\\\\x00-\\x1f]'
ANY = f'(?:{PLAIN}|{SPELLED[chr(34)]}|{SPELLED[chr(92)]})'
CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
DIGITS, WORD = [(48, 57)], [(48, 57), (65, 90), (95, 95), (97, 122)]
SPACE = [(9, 10), (12, 13), (32, 32), (160, 160)]
SETS = {"d": DIGITS, "w": WORD, "s": SPACE}


def spelled(schema):
    """The schema with its patterns and lengths as patterns over JSON's spelling, and names as they
    are spelled. Raises ValueError naming a pattern that cannot be."""
    return rebuilt(schema, _spelled_node)


def _spelled_node(node):
    if isinstance(node.get("properties"), dict):
        named = {_spelled_name(key): one for key, one in node["properties"].items()}
        node = {**node, "properties": named}
        if "required" in node:
            node["required"] = [_spelled_name(key) for key in node["required"]]
    if isinstance(node.get("patternProperties"), dict):
        named = {_spelled(key): one for key, one in node["patternProperties"].items()}
        node = {**node, "patternProperties": named}
    if isinstance(node.get("pattern"), str):
        return {**node, "pattern": _spelled(node["pattern"])}
    low, high = node.get("minLength"), node.get("maxLength")
    if (low, high) == (None, None):
        return node
    free = {key: one for key, one in node.items() if key not in ("minLength", "maxLength")}
    return {**free, "pattern": length_pattern(int(low or 0), None if high is None else int(high))}


def _spelled_name(name):
    """JSON's spelling of a name, as it stands in the string literal of a grammar."""
    return json.dumps(json.dumps(name, ensure_ascii=False)[1:-1], ensure_ascii=False)[1:-1]


def _spelled(pattern):
    try:
        return spelled_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"the pattern {pattern[:60]!r}: {error}") from None


def length_pattern(low, high):
    """A pattern over JSON's spelling: a string of `low` to `high` characters, None: no end."""
    return f"^{PLAIN}{{{low},{'' if high is None else high}}}$"


def spelled_pattern(pattern):
    """ECMA's regular expression `pattern`, which must match a whole string, as one that matches
    JSON's spelling of it. Raises ValueError saying what is not supported."""
    return f"^(?:{_Reader(pattern).all()})$"


class _Reader:
    def __init__(self, text):
        self._text, self._at = text, 0

    def _next(self):
        if self._at >= len(self._text):
            raise ValueError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def all(self):
        out = []
        while self._at < len(self._text):
            char = self._next()
            if char == "\\":
                out.append(self._outside())
            elif char == "[":
                out.append(self._class())
            elif char == ".":
                out.append(ANY)
            elif char not in "^$":  # a pattern is for the whole string anyway
                out.append(SPELLED.get(char, char) if char == '"' else _literal(char))
        return "".join(out)

    def _outside(self):
        """What follows a backslash outside a class."""
        char = self._next()
        if char.lower() in SETS:
            return _set(SETS[char.lower()], char.isupper())
        if char in "bBpPk" or char in "123456789":
            return "\\" + char  # not supported by XGrammar, which says so itself
        code = self._code(char)
        if chr(code) in SPELLED:
            return f"(?:{SPELLED[chr(code)]})"
        return "\\" + char if not char.isalnum() else _set([(code, code)], False)

    def _code(self, char):
        """The code point of an escape whose letter is `char`."""
        if char in CONTROL:
            return ord(CONTROL[char])
        if char in "xu":
            digits, size = "", 2 if char == "x" else 4
            if self._text[self._at : self._at + 1] == "{":
                end = self._text.find("}", self._at)
                digits, self._at = self._text[self._at + 1 : end], end + 1
            else:
                digits = self._text[self._at : self._at + size]
                self._at += size
            try:
                return int(digits, 16)
            except ValueError:
                raise ValueError(f"\\{char}{digits} is no character") from None
        if char.isalnum():
            raise ValueError(f"\\{char} is not supported")
        return ord(char)

    def _class(self):
        negated = self._text[self._at : self._at + 1] == "^"
        self._at += negated
        ranges = []
        while (low := self._item()) is not None:
            if isinstance(low, list):
                ranges += low
                continue
            high, before = low, self._at
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 :][:1] != "]":
                self._at += 1
                high = self._item()
                if not isinstance(high, int) or high < low:
                    raise ValueError(f"the range at {before} has no right end")
            ranges.append((low, high))
        return _set(ranges, negated)

    def _item(self):
        """A code point, a list of ranges, or None at the class's end."""
        char = self._next()
        if char == "]":
            return None
        if char != "\\":
            return ord(char)
        char = self._next()
        if char.lower() in SETS:
            return _complement(SETS[char.lower()]) if char.isupper() else SETS[char.lower()]
        return 8 if char == "b" else self._code(char)


def _literal(char):
    if char in SPELLED:
        return f"(?:{SPELLED[char]})"
    if ord(char) < 0x20:
        raise ValueError(f"U+{ord(char):04X} is not supported")
    return char


def _merged(ranges):
    out = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def _complement(ranges):
    out, at = [], 0
    for low, high in _merged(ranges):
        if at < low:
            out.append((at, low - 1))
        at = high + 1
    return out + [(at, LAST)] if at <= LAST else out


def _set(ranges, negated):
    """A class's ranges of code points as an expression over JSON's spelling."""
    wanted = _complement(ranges) if negated else _merged(ranges)
    starts = [low for low, _ in wanted]

    def holds(char):
        i = bisect_right(starts, ord(char)) - 1
        return i >= 0 and ord(char) <= wanted[i][1]

    safe = _complement([*_complement(wanted), *UNSAFE])
    found = [spelled for char, spelled in SPELLED.items()
             if holds(char) and (not negated or char in QUOTED)]
    if safe:
        found.insert(0, "[" + "".join(map(_written, safe)) + "]")
    if not found:
        raise ValueError("a class holds no character of a JSON string")
    return found[0] if safe and len(found) == 1 else f"(?:{'|'.join(found)})"


def _written(bounds):
    low, high = bounds
    return f"\\u{{{low:x}}}" + (f"-\\u{{{high:x}}}" if high > low else "")
