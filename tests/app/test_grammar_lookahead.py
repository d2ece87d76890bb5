"""Lookaheads (`pwa_shell/grammar_lookahead.js`) leave the masks as XGrammar's own."""

import json
import random
import re
import subprocess

import pytest

from app import grammar_hosts
from app.structured import parse
from pyengine.text.token_table import _spelled
from tests.app.grammar_kit import MARKS, TOKENS, json_schema, random_schema

CORE = grammar_hosts.ROOT / "pwa_shell/grammar_core.js"
COMPARE = grammar_hosts.ROOT / "tests/app/grammar_masks.mjs"
PARTS = ["a", "b", "er", "x1", " ", "é", "日", '"', '",', ' "', '":', "{", "}", "[", "]", ", ",
         "\\", "\\u", "0", "12", "-", ".5", "e", "@", "id", "null", "tr", "ue"]


def vocabulary(count):
    """Tokens of one to six fragments, as byte-level BPE spells them, behind those of the kit."""
    rng = random.Random(4)
    found = dict.fromkeys(t for t in TOKENS if t not in MARKS)
    while len(found) < count - len(MARKS):
        found["".join(rng.choices(PARTS, k=rng.randint(1, 6)))] = None
    return [""] * len(MARKS) + [_spelled(t.encode()) for t in found]


def compared(formats, count=600, walks=2, steps=60):
    """What `grammar_masks.mjs` finds of response formats."""
    starts = []
    for one in formats:
        g = parse({"response_format": one})
        starts.append({"kind": g.kind, "text": g.text, "strict": g.strict, "rules": dict(g.rules),
                       "schemas": g.schemas})
    node, module = grammar_hosts._bundle()
    given = {"tokens": vocabulary(count), "stops": [0], "walks": walks, "steps": steps,
             "starts": starts}
    ran = subprocess.run([node, str(COMPARE), str(CORE), str(module)], capture_output=True,
                         input=json.dumps(given).encode(), timeout=120)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    return json.loads(ran.stdout)


def test_the_masks_of_random_schemas_are_xgrammars_own():
    rng = random.Random(9)
    found = compared([json_schema(random_schema(rng)) for _ in range(150)])
    assert found["differs"] == [] and sum(found["steps"]) > 1500


STRINGS = {"type": "object", "required": ["a", "b"], "additionalProperties": False, "properties": {
    "a": {"type": "string", "minLength": 2, "maxLength": 140},
    "b": {"type": "array", "items": {"type": "string", "maxLength": 5}},
    "c": {"type": "string", "minLength": 130}, "d": {"type": "string", "maxLength": 140},
    "n": {"type": "integer", "minimum": -7, "maximum": 3}}}
LOOSE = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}}
ANY = {"anyOf": [{"type": "string", "maxLength": 6},
                 {"type": "array", "items": {"type": ["string", "null"]}}]}
EBNF = 'root ::= one "." | one\none ::= "a" two?\ntwo ::= [a-z]{1,5} (=[.])'


@pytest.mark.parametrize("given", [
    json_schema(STRINGS), json_schema(LOOSE, strict=False), json_schema(ANY),
    {"type": "json_object"}, {"type": "regex", "regex": "[a-e@]{2,9}(x|é){1,4}"},
    {"type": "regex", "regex": "(ab|er){0,140}1"}, {"type": "grammar", "grammar": EBNF},
], ids=["strings", "loose", "any", "object", "regex", "long groups", "grammar"])
def test_every_kind_has_xgrammars_own_masks(given):
    found = compared([given], walks=8, steps=200)
    assert found["differs"] == [] and found["steps"][0] > 15


def test_each_rule_of_a_bounded_string_says_what_ends_it():
    """Without it a mask takes milliseconds with a real vocabulary: most tokens reach over a rule's
    end. Of the first XGrammar finds it out."""
    schema = {"type": "array", "items": {"type": "string", "maxLength": 9}}
    (text,) = compared([json_schema(schema)], walks=1, steps=1)["texts"]
    chain = [line for line in text.splitlines() if re.match(r"string_\d+ ::=", line)]
    assert [line.endswith(r" (=([\x22]))") for line in chain] == [False] + [True] * 8


def test_a_long_string_is_written_as_one_repetition():
    """XGrammar's text of it is longer, and would be unzipped again where it is read: masks of half
    a second."""
    schema = {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {
        "a": {"type": "string", "maxLength": 300}, "b": {"type": "string", "minLength": 150},
        "n": {"type": "integer", "minimum": 3}}}
    (text,) = compared([json_schema(schema)], walks=1, steps=1)["texts"]
    assert "]{128, 300}" in text and "]{150, 150}" in text and "_repeat_1" not in text
