"""Qwen3-Coder and Qwen3.5: a function in tags,
`<tool_call><function=f><parameter=a>1</parameter></function></tool_call>`.

Values are raw text; what they mean follows from the tool's schema.
"""

import json
import re

from app.tools import grammar
from app.tools.base import MarkedParser, Unreadable, json_calls, make_call, parse_json
from app.tools.pythonic import read_literal

FRAME = grammar.Frame("<tool_call>", "\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
_BEHIND = "</parameter>"
_FUNCTION = re.compile(r"\s*<function=([^>\s]+)>(.*)</function>\s*\Z", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>")
_END = re.compile(r"</parameter>\s*(?=<parameter=|\Z)")


def closed(body):
    """Whether the function in `body` is over: a value may hold any text, markers too."""
    return body.rstrip().endswith("</function>")


def read(body, tools):
    """[Call] of one function. Raises Unreadable."""
    function = _FUNCTION.match(body)
    if function is None:
        raise Unreadable("no function")
    name, rest = function.group(1), function.group(2).strip()
    schema = (tools.get(name) or {}).get("properties")
    arguments, at = {}, 0
    while at < len(rest):
        begin = _PARAMETER.match(rest, at)
        end = begin and _END.search(rest, begin.end())
        if end is None:
            raise Unreadable("a parameter")
        key = begin.group(1).strip()
        described = schema.get(key) if isinstance(schema, dict) else None
        arguments[key] = _value(rest[begin.end() : end.start()], described)
        at = end.end()
    return [make_call(name, arguments)]


def _value(text, described):
    """One line break on each side belongs to the format, not to the value."""
    text = text.removeprefix("\n").removesuffix("\n")
    kind = described.get("type") if isinstance(described, dict) else "string"
    if kind == "string" or kind is None and not isinstance(described, dict):
        return text
    for reader in (parse_json, read_literal):
        try:
            value = reader(text.strip())
        except Unreadable:
            continue
        return text if kind is None and not isinstance(value, (dict, list)) else value
    return text


class Parser(MarkedParser):
    """Of functions in tags, without the outer tag too, and of the JSON of earlier Qwen models."""

    markers = {"<tool_call>": "</tool_call>", "<function=": "</function>"}

    def closed(self, body, quoted):
        if self._opening == "<function=":
            return body.count("<parameter=") == body.count("</parameter>")
        json_like = body.lstrip().startswith(("{", "["))
        return not quoted if json_like else closed(body)

    def read(self, body):
        if self._opening == "<function=":
            return read(f"<function={body}</function>", self.tools)
        if body.lstrip().startswith(("{", "[")):
            return json_calls(body.strip())
        return read(body, self.tools)


def call_rules(rules, functions):
    """[rule] of a call of each function, as grammars for a demanded call need them: of JSON where
    tags cannot say what the schema does."""
    found = []
    for function in functions:
        fields = function.fields()
        if fields is None or not all(_in_tags(*field) for field in fields):
            found += grammar.json_calls(rules, [function], "arguments")
            continue

        def written(name, schema, param=function.param):
            value = _value_rule(rules, schema, param)
            opening = grammar.literal(f"<parameter={name}>\n")
            return f"{opening} {value} {grammar.literal(chr(10) + _BEHIND + chr(10))}"

        listed = rules.fields(fields, "", written)
        head = grammar.literal(f"<function={function.name}>\n")
        found.append(rules.add(f'{head} {listed} "</function>"'))
    return found


def _in_tags(name, schema, _):
    kind, choices = schema.get("type"), schema.get("enum", [schema.get("const", "")])
    if not isinstance(kind, (str, list)) or re.search(r"[>\n]", name) or name != name.strip():
        return False
    if kind != "string":
        return True
    return "format" not in schema and all(isinstance(one, str) and _BEHIND not in one
                                             for one in choices)


def _value_rule(rules, schema, param):
    """What stands in a tag: a string as it is, anything else as JSON."""
    if schema["type"] != "string":
        return rules.value(schema, param)
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return rules.add(" | ".join(map(grammar.literal, choices)))
    if "pattern" in schema:
        return rules.matching(schema["pattern"])
    if "maxLength" in schema or "minLength" in schema:
        low, high = schema.get("minLength", 0), schema.get("maxLength", "")
        return rules.add(f"[^<]{{{low},{high}}}")
    rules.include(grammar.text_without(_BEHIND, "raw"))
    return "raw"


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    out = []
    for name, arguments in calls:
        values = "".join(
            f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value)}\n"
            "</parameter>\n"
            for key, value in arguments.items()
        )
        out.append(f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>")
    return "\n".join(out)
