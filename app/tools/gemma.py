"""Gemma: a fenced block of Python calls, ```` ```tool_code ````, a call on each line."""

from app.tools import grammar
from app.tools.pythonic import PythonicParser, call_rules, write_call

START, END = "```tool_code", "```"
FRAME = grammar.Frame(START, "\n", "\n", "\n" + END)
__all__ = ["FRAME", "Parser", "call_rules", "write"]


class Parser(PythonicParser):
    """Of `f(a=1)` and `print(module.f(a=1))`, or of JSON."""

    markers = {START: END}


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return "\n".join([START, *(write_call(*call) for call in calls), END])
