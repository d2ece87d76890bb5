"""Hermes and Qwen (2.5, 3): `<tool_call>{"name": "f", "arguments": {...}}</tool_call>`."""

import json

from app.tools import grammar, qwen_xml
from app.tools.base import MarkedParser, json_calls

FRAME = qwen_xml.FRAME


class Parser(MarkedParser):
    """Of JSON between tags, and of the XML that Qwen's later models put there."""

    markers = {"<tool_call>": "</tool_call>"}

    def closed(self, body, quoted):
        if body.lstrip().startswith("<function="):
            return qwen_xml.closed(body)
        return not quoted

    def read(self, body):
        if body.lstrip().startswith("<function="):
            return qwen_xml.read(body, self.tools)
        return json_calls(body.strip())


def call_rules(rules, functions):
    """[rule] of a call of each function, as grammars for a demanded call need them."""
    return grammar.json_calls(rules, functions, "arguments")


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return "\n".join(
        "<tool_call>\n"
        + json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        + "\n</tool_call>"
        for name, arguments in calls
    )
