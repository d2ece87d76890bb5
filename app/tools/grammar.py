"""Calls that an answer must hold: an EBNF grammar of just the calls of given functions, in a
model's format. What it lets pass, that format's parser reads."""

import json
from dataclasses import dataclass

from app.structured import written_schema
from app.tools.base import MAX_CALLS
from pyengine.decode.grammar import Grammar
from pyengine.errors import EngineError

_PLAIN = {"type", "properties", "required", "additionalProperties", "$defs", "definitions", "title",
          "description", "$schema"}


@dataclass(frozen=True)
class Frame:
    """How a format puts calls into an answer: marker, begin, call, between, call ..., end."""

    marker: str
    begin: str
    between: str
    end: str


@dataclass(frozen=True)
class Function:
    """One that may be called. `param`: where the request has its parameters' schema."""

    name: str
    parameters: dict
    param: str

    @classmethod
    def of(cls, tool, i):
        """Of the request's tool number `i`. Raises E_BAD_REQUEST where the schema is not one of an
        object."""
        function, param = tool["function"], f"tools[{i}].function.parameters"
        parameters = {"type": "object", **(function.get("parameters") or {})}
        if parameters["type"] != "object" or {"$ref", "anyOf", "oneOf", "allOf"} & set(parameters):
            raise EngineError("E_BAD_REQUEST", param=param, got=json.dumps(parameters)[:120],
                              wanted="the schema of an object, as its call can be demanded")
        return cls(function["name"], parameters, param)

    def fields(self):
        """[(name, schema, whether it is required)] of parameters that can be written one by one,
        or None: where the schema says more, or refers to more than definitions."""
        if set(self.parameters) - _PLAIN or self.parameters.get("additionalProperties"):
            return None
        written_schema(self.parameters, self.param)  # refuses what is wrong with the whole
        shared = {key: one for key, one in self.parameters.items()
                  if key in ("$defs", "definitions")}
        found = []
        for name, schema in self.parameters.get("properties", {}).items():
            refs = _refs([schema, shared])
            shared_only = all(ref.startswith(("#/$defs/", "#/definitions/")) for ref in refs)
            if not isinstance(schema, dict) or not shared_only:
                return None
            found.append((name, {**schema, **shared} if refs else schema,
                          name in self.parameters.get("required", ())))
        return found


def _refs(value):
    if isinstance(value, list):
        return [ref for one in value for ref in _refs(one)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [ref for one in value.values() for ref in _refs(one)]


class Rules:
    """The rules of a grammar while it is made, and the schemas that they refer to."""

    def __init__(self):
        self._lines, self._schemas = [], []

    def add(self, body):
        """A new rule; -> its name."""
        name = f"r{len(self._lines)}"
        self._lines.append(f"{name} ::= {body}")
        return name

    def include(self, lines):
        """Adds rules that have names of their own, once."""
        self._lines += [line for line in lines if line not in self._lines]

    def value(self, schema, param):
        """-> the name of a rule of JSON of `schema`. Raises E_BAD_REQUEST."""
        text, rules = written_schema(schema, param)
        return self._refer({"kind": "json_schema", "text": text, "rules": rules})

    def matching(self, pattern):
        """-> the name of a rule of what the regular expression matches."""
        return self._refer({"kind": "regex", "text": pattern, "rules": {}})

    def _refer(self, schema):
        name = f"v{len(self._schemas)}"
        self._schemas.append({"name": name, **schema})
        return f"{name}_root"

    def fields(self, fields, between, written):
        """A rule of `fields` in their order, those not required maybe left out, `between` two of
        them; `written(name, schema)` -> EBNF of one."""
        later = begun = self.add('""')
        for name, schema, required in reversed(fields):
            one = self.add(written(name, schema))
            again = f"{literal(between)} {one} {later}"
            first = f"{one} {later}"
            later, begun = (self.add(again if required else f"{again} | {later}"),
                            self.add(first if required else f"{first} | {begun}"))
        return begun

    def grammar(self, root):
        """The Grammar whose root is the EBNF `root`."""
        return Grammar("rules", "\n".join([f"root ::= {root}", *self._lines]), param="tools",
                       schemas=tuple(self._schemas))


def literal(text):
    """EBNF of just this text."""
    return json.dumps(text, ensure_ascii=False)


def json_calls(rules, functions, key):
    """[rule] of `{"name": ..., key: {...}}`, one for each function."""
    found = []
    for function in functions:
        head = "{" + f'"name": {json.dumps(function.name)}, "{key}": '
        value = rules.value(function.parameters, function.param)
        found.append(rules.add(f'{literal(head)} {value} "}}"'))
    return found


def calls_grammar(module, functions, several, marker, free=False):
    """The Grammar of a call of one of `functions`, or of several, in the format of `module`.
    `marker`: whether the grammar writes the opening mark, or begins behind it. `free`: any text
    that holds no call is as good. Raises E_BAD_REQUEST."""
    frame, rules = module.FRAME, Rules()
    call = rules.add(" | ".join(module.call_rules(rules, functions)))
    begin = literal((frame.marker if marker and not free else "") + frame.begin)
    # a mark that only its own token spells cannot be written again
    several = several and (marker or not frame.marker or frame.marker not in frame.between)
    more = f"({literal(frame.between)} {call}){{0,{MAX_CALLS - 1}}}" if several else ""
    calls = f"{begin} {call} {more} {literal(frame.end)}"
    if not free or not marker:
        return rules.grammar(calls)
    name = rules.add(calls)
    if frame.marker:
        return rules.grammar(f"TagDispatch(({literal(frame.marker)}, {name}), stop_eos=true, "
                             "loop_after_dispatch=false)")
    # a call without a mark is what begins with a bracket
    return rules.grammar(f'[ \\t\\r\\n]* ({name} | [^{{ \\t\\r\\n] [\\0-\\U0010ffff]*)?')


def text_without(ending, name):
    """Rules of any text in which `ending`, whose first character it has only once, does not stand;
    the first is `name`."""
    first = ending[0]
    lines = [f'{name} ::= [^{first}]* {name}_more', f'{name}_more ::= "" | "{first}" {name}_1']
    for matched in range(1, len(ending)):
        char = ending[matched]
        onward = f' | "{char}" {name}_{matched + 1}' if matched + 1 < len(ending) else ""
        lines.append(f'{name}_{matched} ::= "" | "{first}" {name}_1 | [^{first}{char}] {name}'
                     + onward)
    return lines
