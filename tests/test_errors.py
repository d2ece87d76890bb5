"""Errors: every code's message formats with its facts, says what to do next, and crosses as
data."""
import ast
import json
import string
from pathlib import Path

import pytest

from pyengine.errors import MESSAGES, RECOVERABLE, EngineError

ROOT = Path(__file__).resolve().parents[1]


def fields(code):
    """The facts that a code's message and next step name."""
    return {
        name for text in MESSAGES[code] for _, name, _, _ in string.Formatter().parse(text) if name
    }


@pytest.mark.parametrize("code", MESSAGES)
def test_a_message_formats(code):
    error = EngineError(code, **{name: f"<{name}>" for name in fields(code)})
    assert error.code == code and str(error) == f"{code}: {error.message} {error.next_step}"
    assert all(f"<{name}>" in error.message + error.next_step for name in fields(code))
    assert "{" not in str(error) and error.message.endswith(".") and error.next_step.endswith(".")


@pytest.mark.parametrize("code", [code for code in MESSAGES if fields(code)])
def test_a_missing_fact_is_a_bug(code):
    with pytest.raises(KeyError):
        EngineError(code)


def test_an_unknown_code_is_a_bug():
    with pytest.raises(KeyError):
        EngineError("E_NOTHING")
    assert set(RECOVERABLE) < set(MESSAGES)


def test_facts_cross_as_json():
    error = EngineError(
        "E_BAD_REQUEST", param="x", got=(1, 2), wanted=None, extra=[1], path=Path("a"), at=b"\xff"
    )
    data = json.loads(json.dumps(error.to_dict()))
    assert data["facts"] == {
        "param": "x",
        "got": "(1, 2)",
        "wanted": None,
        "extra": [1],
        "path": "a",
        "at": "b'\\xff'",
    }
    assert (data["code"], data["message"], data["next_step"]) == (
        error.code,
        error.message,
        error.next_step,
    )


def raised():
    """(place, code, {fact names}, whether facts come from elsewhere) of each EngineError(...) in
    the code."""
    for path in sorted([*ROOT.glob("pyengine/**/*.py"), *ROOT.glob("app/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "EngineError"
                and node.args
            ):
                code = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
                names = {keyword.arg for keyword in node.keywords}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", code, names - {None}, None in names


def test_every_raise_gives_the_facts_of_its_message():
    found = list(raised())
    wrong = [
        f"{place}: {code} lacks {sorted(fields(code) - names)}"
        for place, code, names, more in found
        if code is not None and not more and fields(code) - names
    ]
    assert wrong == [] and len(found) > 60
