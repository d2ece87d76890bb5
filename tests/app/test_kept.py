"""A kept plan is taken only where everything that it was made from is what it was."""
import asyncio
import json
from types import SimpleNamespace

import pytest

from app import kept

CAPS = SimpleNamespace(variants=("f16",))
DEVICE = SimpleNamespace(facts='{"vendor": "a", "maxBinding": 128}', identity="browser 1 a", caps=CAPS)
OPTIONS = {"quant": "keep", "kv": "f16", "context": 256, "burst": 4}
TESTED = {"key": "selftest1|browser 1 a", "layout": [1, 2048], "off": []}
REPORT = {"layout": [1, 2048], "off": [], "rows": [], "ms": 3.0, "cached": False}
CHOICES = {"key": "1|abc|browser 1 a", "chosen": {"matvec 96x32": {"rows": 4}}}


class Cache:
    def __init__(self, choices, tested):
        self.choices, self.tested = choices, tested

    async def get(self, key):
        if key == TESTED["key"]:
            return json.dumps(self.tested)
        return self.choices if isinstance(self.choices, str) else json.dumps(
            self.choices if key == CHOICES["key"] else {})


def source(name="m.gguf", size=83, identity="d1 d2"):
    return SimpleNamespace(name=name, size=size, identity=identity)


def facts(code="sha", options=OPTIONS, tune=False, sources=(source(),), device=DEVICE):
    return kept.facts(code, options, tune, sources, device)


def fits(wanted, choices=None, now=None, key=None, tested=REPORT):
    if key is None:
        key = json.dumps({**facts(tune=choices is not None), "choices": choices,
                          "selftest": TESTED})
    return asyncio.run(kept.fits(key, wanted, Cache(now, tested)))


def test_the_same_fits_and_a_burst_is_no_part_of_a_plan():
    assert fits(facts()) and fits(facts(options=OPTIONS | {"burst": 1}))


@pytest.mark.parametrize("changed", [
    {"code": "another"},
    {"options": OPTIONS | {"quant": "mixed4"}},
    {"options": OPTIONS | {"kv": "f32"}},
    {"options": OPTIONS | {"context": 257}},
    {"options": {}},
    {"tune": True},
    {"sources": (source(identity="d1 d3"),)},
    {"sources": (source(size=84),)},
    {"sources": (source(), source("b"))},
    {"device": SimpleNamespace(facts='{"vendor": "b", "maxBinding": 128}', caps=CAPS)},
    {"device": SimpleNamespace(**vars(DEVICE) | {"caps": SimpleNamespace(variants=None)})},
])
def test_whatever_else_changes_makes_it_another(changed):
    assert not fits(facts(**changed))


def test_a_file_that_has_no_digest_is_never_kept():
    assert facts(sources=(source(identity=None),)) is None and not fits(None)


def test_the_tuners_choices_must_be_those_of_the_plan():
    wanted, mine = facts(tune=True), CHOICES["chosen"]
    assert fits(wanted, CHOICES, mine)
    assert fits(wanted, CHOICES, mine | {"of another model": {"rows": 1}})
    assert not fits(wanted, CHOICES, {"matvec 96x32": {"rows": 8}})
    assert not fits(wanted, CHOICES, {}) and not fits(wanted, CHOICES, "not json")


@pytest.mark.parametrize("tested", [
    REPORT | {"layout": [1, 64]}, REPORT | {"off": ["f16"]}, {}, None, [], "?"])
def test_the_self_tests_findings_must_be_those_of_the_plan(tested):
    assert fits(facts()).cached and not fits(facts(), tested=tested)


@pytest.mark.parametrize("key", ["", "[]", "null", "{}", "not json", '{"choices": 1}'])
def test_a_key_that_cannot_be_read_fits_nothing(key):
    assert not fits(facts(), key=key)
