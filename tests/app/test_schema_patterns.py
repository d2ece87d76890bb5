"""Patterns over JSON's spelling of a string: what they match is JSON of just the right strings."""

import json
import random
import re

import pytest

from app.schema_patterns import spelled, spelled_pattern

PATTERNS = ["^.{2,4}$", "^[^@]+@[^@]+$", "a|b", "^(no|yes)!?$", r"^\S+$", r"\W\D", 'say "a"', r"\\",
            r'["\\]x', r"[^\w]", r"^[\]\-a]+$", r"\x41\u0042[\u{43}-\x45]", r"a\/b\.c", "[ -~]{3}",
            r"\s", r"a\tb\n", r"[\t\"]", "(?:é|日)+", r"[^\d\s]", "^$", "(?<n>ab)c", "x*?y{2,}"]
CHARS = 'ab@ABCDEx y!"\\/.c-]\tn\n0é日_~'


def as_python(pattern):
    return re.compile(re.sub(r"\\u\{(\w+)\}", lambda m: f"\\U{int(m[1], 16):08x}", pattern)
                      .replace("(?<n>", "(?P<n>"), re.ASCII)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_matches_the_spelling_of_what_the_pattern_matches(pattern):
    rng = random.Random(pattern)
    found, plain = as_python(spelled_pattern(pattern)), as_python(pattern)
    texts = ["".join(rng.choices(CHARS, k=rng.randrange(5))) for _ in range(4000)]
    texts += ["ABC", 'say "a"', "\\", '"x', "a/b.c", "aaa", "a\tb\n", "\t", '"', "éé日", "yes!", "abc"]
    hits = 0
    for text in texts:
        spelled = json.dumps(text, ensure_ascii=False)[1:-1]
        if found.fullmatch(spelled):
            assert plain.fullmatch(text), text
            hits += 1
        elif not re.search(r"[\x00-\x1f]", text):  # these may be left out
            assert not plain.fullmatch(text), text
    assert hits


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_that_it_matches_breaks_the_json(pattern):
    rng, found = random.Random(pattern), as_python(spelled_pattern(pattern))
    for _ in range(4000):
        text = "".join(rng.choices(CHARS, k=rng.randrange(1, 5)))
        if found.fullmatch(text):
            json.loads(f'"{text}"')


def test_where_patterns_and_lengths_are():
    node = {"properties": {"pattern": {"type": "string", "maxLength": 3}, "maxLength": {"pattern": "."}},
            "patternProperties": {"^a.$": {}}, "enum": [{"pattern": "."}], "items": {"minLength": 1}}
    found = spelled(node)
    assert as_python(found["properties"]["pattern"].pop("pattern")).fullmatch("日a ")
    assert found["properties"]["pattern"] == {"type": "string"} and found["enum"] == node["enum"]
    assert found["properties"]["maxLength"]["pattern"] == spelled_pattern(".")
    (name,) = found["patternProperties"]
    assert as_python(name).fullmatch('a\\"') and not as_python(name).fullmatch('a"')
    assert spelled({"properties": {'a"': {}}, "required": ['a"']}) == {
        "properties": {'a\\\\\\"': {}}, "required": ['a\\\\\\"']}
    assert found["items"] == {"pattern": '^[^"\\\\\\x00-\\x1f]{1,}$'}


@pytest.mark.parametrize("pattern", ["[", "a\\", r"\uZZZZ", r"\v", "[z-a]", r"[\x01-\x05]", r"[a-\d]",
                                     "\x07", r"\cA"])
def test_what_is_refused(pattern):
    with pytest.raises(ValueError):
        spelled_pattern(pattern)
