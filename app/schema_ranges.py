"""Bounded numbers of a JSON schema as rules of our own: XGrammar 0.1.27 lets 140 pass for 144 to
175, and 0.7 for -1 to 0. A bounded number becomes a constant text that stands for a rule; the back
end puts the rule in its place (`pwa_shell/grammar_core.js`)."""

from math import ceil, floor

from app.schema_walk import rebuilt

WHOLE = 2 ** 53 - 1   # the missing bound: what JSON readers hold exactly
PLACES = 2            # decimals of a bounded number, more where the range is narrow
MOST_PLACES = 9
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
NAME = "jird_number_"


def extract(schema):
    """-> (the schema with marks for its bounded numbers, {rule name: EBNF of it}). A range without
    a number that is written with at most nine decimals has None for its rule."""
    rules = {}
    return rebuilt(schema, lambda node: _marked(node, rules)), rules


def _marked(node, rules):
    types = node.get("type", [])
    types = types if isinstance(types, list) else [types]
    if any(node.get(name) is not None for name in BOUNDS) and not {"enum", "const"} & set(node):
        if {"integer", "number"} & set(types):
            return _number(node, types, rules)
        return {key: one for key, one in node.items() if key not in BOUNDS}
    return node


def _number(node, types, rules):
    """A schema with bounds: the mark, or a choice of it and what the bounds do not concern."""
    free = {key: one for key, one in node.items() if key not in BOUNDS}
    others = [{**free, "type": one} for one in types if one not in ("number", "integer")]
    name = f"{NAME}{len(rules)}"
    rules[name] = _rule(node, "number" in types)
    mark = {"const": name}
    return {"anyOf": [mark, *others]} if others else mark


def _rule(node, decimals):
    low, high = _bounds(node, 0)
    found = [] if low > high else _signed(low, high, 0)
    if decimals:
        for places in range(PLACES, MOST_PLACES + 1):
            low, high = _bounds(node, places)
            if high - low >= 9 or places == MOST_PLACES:
                found += [] if low > high else _signed(low, high, places)
                break
    return " | ".join(found) or None


def _bounds(node, places):
    """(lowest, highest) whole number of units of 10^-places that the bounds allow."""
    from fractions import Fraction  # late: 20 ms of a start in the browser, with decimal behind it

    scale, limit = 10 ** places, WHOLE * 10 ** places
    exact = {name: Fraction(str(node[name])) * scale for name in BOUNDS
             if node.get(name) is not None}
    low = [ceil(exact[n]) if n == "minimum" else floor(exact[n]) + 1
           for n in ("minimum", "exclusiveMinimum") if n in exact]
    high = [floor(exact[n]) if n == "maximum" else ceil(exact[n]) - 1
            for n in ("maximum", "exclusiveMaximum") if n in exact]
    low, high = max(low, default=None), min(high, default=None)
    if low is None:
        low = min(-limit, high)
    return low, max(limit, low) if high is None else high


def _signed(low, high, places):
    """EBNF alternatives of the whole numbers low .. high, written with `places` decimals."""
    found = []
    if low < 0:
        least = max(1, -high)
        found += [f'"-" {one}' for one in _digits(least, -low, places)]
    if high >= 0:
        found += _digits(max(0, low), high, places)
    return found


def _digits(low, high, places):
    """EBNF alternatives of the digits of low .. high, both at least 0: lengths one by one."""
    found = []
    for length in range(max(places + 1, len(str(low))), len(str(high)) + 1 + places):
        first = 0 if length == places + 1 else 10 ** (length - 1)
        a, b = max(low, first), min(high, 10 ** length - 1)
        if a <= b:
            found += [_written(one, places) for one in _blocks(
                str(a).zfill(length), str(b).zfill(length))]
    return found


def _blocks(low, high):
    """Lists of (first, last) digits, a place each, which together are the numbers low .. high of
    one length."""
    if not low or low == "0" * len(low) and high == "9" * len(high):
        return [[("0", "9")] * len(low)]
    if low[0] == high[0]:
        return [[(low[0], low[0]), *rest] for rest in _blocks(low[1:], high[1:])]
    begin, end = low[0], high[0]
    zeros, nines, found = "0" * (len(low) - 1), "9" * (len(low) - 1), []
    if low[1:] != zeros:
        found += [[(begin, begin), *rest] for rest in _blocks(low[1:], nines)]
        begin = chr(ord(begin) + 1)
    tail = []
    if high[1:] != nines:
        tail = [[(end, end), *rest] for rest in _blocks(zeros, high[1:])]
        end = chr(ord(end) - 1)
    if begin <= end:
        found.append([(begin, end), *[("0", "9")] * len(zeros)])
    return found + tail


def _written(block, places):
    parts = [f'"{a}"' if a == b else f"[{a}-{b}]" for a, b in block]
    if places:
        parts.insert(len(parts) - places, '"."')
    return " ".join(parts)
