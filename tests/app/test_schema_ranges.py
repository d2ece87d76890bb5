"""Bounded numbers as rules: what the rules spell is exactly what the bounds allow."""

import random
import re

import pytest

from app.schema_ranges import WHOLE, _blocks, extract


def expression(rule):
    """A rule as a regular expression: both have the same alternatives and classes."""
    parts = []
    for one in rule.split(" | "):
        parts.append("".join(re.escape(p[1:-1]) if p[0] == '"' else p for p in one.split(" ")))
    return re.compile("|".join(f"(?:{p})" for p in parts))


def rule_of(**node):
    marked, rules = extract(node)
    assert marked == {"const": "jird_number_0"}
    return rules["jird_number_0"]


def test_whole_numbers():
    rng = random.Random(2)
    ranges = [(144, 175), (0, 0), (-1, 0), (-5, -5), (99, 100), (0, 9), (-10, 10), (1, 1000)]
    ranges += [(a, a + rng.randrange(700)) for a in (rng.randrange(-600, 600) for _ in range(40))]
    for low, high in ranges:
        found = expression(rule_of(type="integer", minimum=low, maximum=high))
        taken = {n for n in range(-1500, 1500) if found.fullmatch(str(n))}
        assert taken == set(range(low, high + 1)), (low, high)
        assert not found.fullmatch("00") and not found.fullmatch("-0")


@pytest.mark.parametrize("low, high", [(-1, 0), (0.5, 1), (0.001, 0.0011), (-2.5, 3.25), (9.9, 10)])
def test_decimals(low, high):
    found = expression(rule_of(type="number", minimum=low, maximum=high))
    hits = 0
    for places in range(2, 10):
        steps = [low - 1 + i * (high - low + 2) / 2000 for i in range(2000)]
        steps += [low + i * (high - low) / 50 for i in range(51)]
        for text in (f"{step:.{places}f}" for step in steps):
            if found.fullmatch(text):
                assert low <= float(text) <= high, text
                hits += 1
    assert hits > 0


def test_one_sided_exclusive_and_empty():
    assert expression(rule_of(type="integer", minimum=3)).fullmatch(str(WHOLE))
    assert not expression(rule_of(type="integer", exclusiveMinimum=3)).fullmatch("3")
    below = expression(rule_of(type="number", exclusiveMaximum=0))
    assert below.fullmatch("-0.01") and not below.fullmatch("0") and not below.fullmatch("0.00")
    assert rule_of(type="integer", minimum=0.2, maximum=0.8) is None
    assert len(_blocks("000", "999")) == 1


def test_other_types_and_places_keep_what_they_are():
    marked, rules = extract({"properties": {"a": {"type": ["integer", "null"], "minimum": 1},
                                            "b": {"type": "array", "minimum": 1,
                                                  "items": {"type": "integer", "maximum": 0}}},
                             "enum": [{"minimum": 3}]})
    assert marked["properties"]["a"] == {"anyOf": [{"const": "jird_number_0"}, {"type": "null"}]}
    assert marked["properties"]["b"] == {"type": "array", "items": {"const": "jird_number_1"}}
    assert len(rules) == 2
    assert marked["enum"] == [{"minimum": 3}]
