"""Structured output: `response_format` of a request -> a Grammar, and the guide of one answer."""

import json

from app.schema_check import check_schema
from app.schema_patterns import spelled
from app.schema_ranges import extract
from pyengine.decode.grammar import Grammar, Grammars, Guide
from pyengine.errors import EngineError
from pyengine.text.token_table import token_table

MAX_TEXT = 1 << 16  # characters of a schema, an expression or a grammar
PARAM = "response_format"
FIELDS = {
    "text": set(),
    "json_object": set(),
    "json_schema": {"json_schema"},
    "regex": {"regex"},
    "grammar": {"grammar"},
}
SCHEMA_FIELDS = {"schema", "strict", "name", "description"}
THINK = ("<think>", "</think>")


def _bad(param, got, wanted):
    return EngineError("E_BAD_REQUEST", param=param, got=str(got)[:120], wanted=wanted)


def parse(body):
    """A request body's `response_format` -> Grammar, or None for text. Raises E_BAD_REQUEST."""
    given = body.get(PARAM)
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise _bad(PARAM, repr(given), "{'type': ...} of " + ", ".join(FIELDS))
    unknown = sorted(set(given) - FIELDS[kind] - {"type"})
    if unknown:
        raise _bad(f"{PARAM}.{unknown[0]}", repr(given[unknown[0]]), "no such field: remove it")
    if kind == "text":
        return None
    if kind == "json_schema":
        return _schema(given.get("json_schema"))
    return Grammar(kind, "" if kind == "json_object" else _text(kind, given.get(kind)))


def _text(kind, text):
    param = f"{PARAM}.{kind}"
    if not isinstance(text, str) or not text:
        raise _bad(param, repr(text), "a non-empty string")
    if len(text) > MAX_TEXT:
        raise _bad(param, f"{len(text)} characters", f"at most {MAX_TEXT}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _bad(param, "a lone surrogate", "whole Unicode characters") from None
    return text


def _schema(given):
    where = f"{PARAM}.json_schema"
    if not isinstance(given, dict) or set(given) - SCHEMA_FIELDS:
        raise _bad(where, repr(given), "{'name': ..., 'schema': {...}, 'strict': bool}")
    strict, schema = given.get("strict"), given.get("schema")
    if strict is not None and not isinstance(strict, bool):
        raise _bad(f"{where}.strict", repr(strict), "true or false")
    for name in ("name", "description"):
        if given.get(name) is not None and not isinstance(given[name], str):
            raise _bad(f"{where}.{name}", repr(given[name]), "a string")
    if not isinstance(schema, dict):
        raise _bad(f"{where}.schema", repr(schema), "a JSON schema, an object")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (ValueError, RecursionError):
        raise _bad(f"{where}.schema", "no JSON", "a JSON schema less than 64 deep") from None
    if len(text) > MAX_TEXT:
        raise _bad(f"{where}.schema", f"{len(text)} characters", f"at most {MAX_TEXT}")
    text, rules = written_schema(schema, f"{where}.schema")
    return Grammar("json_schema", text, strict is not False, rules=tuple(rules.items()))


def written_schema(schema, param):
    """(JSON of a schema as XGrammar gets it right, {rule name: EBNF}). Raises E_BAD_REQUEST."""
    check_schema(schema, param)
    try:
        marked, rules = extract(spelled(schema))
    except ValueError as error:
        raise _bad(param, error, "patterns that XGrammar supports") from None
    if None in rules.values():
        raise _bad(param, "bounds without a number between them", "wider bounds")
    return json.dumps(marked), rules


def _marks(tokenizer, vocab):
    """Ids of the marks of a thinking block; (None, None) for a model without both."""
    ids = [tokenizer.token_to_id(mark) for mark in THINK]
    return ids if all(i is not None and i < vocab for i in ids) else (None, None)


def make_grammars(open_host, tokenizer, stops, vocab):
    """The `Grammars` of a model."""
    hidden = [i for i in _marks(tokenizer, vocab) if i is not None]
    return Grammars(open_host, lambda: token_table(tokenizer, hidden), stops, vocab)


def _thinking(opens, closes, ids):
    """(id that may open a block or None, whether the prompt has opened one): a prompt that has
    closed one, or opens and closes it, wants none."""
    last = next((i for i in reversed(ids) if i in (opens, closes)), None)
    if last == opens:
        return None, True
    tail = ids[-8:]  # an earlier turn's block is not this answer's
    return (None if closes in tail else opens), False


async def guide(grammars, grammar, tokenizer, vocab, prompt_ids, chat, marker=None, free=False):
    """The `Guide` of one answer, which the caller closes: in a chat the grammar begins behind the
    thinking, and behind the id `marker` if one is given, before which anything goes where `free`.
    Raises E_BAD_REQUEST, E_NO_GRAMMAR."""
    opens, closes = _marks(tokenizer, vocab) if chat else (None, None)
    thinking = False
    if opens is not None:
        opens, thinking = _thinking(opens, closes, prompt_ids)
    return Guide(await grammars.begin(grammar), opens, closes, thinking, marker, free)
