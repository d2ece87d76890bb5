"""Gemma: a fenced block of Python calls, ```` ```tool_code ````, a call on each line."""

from app.tools.pythonic import PythonicParser, write_call

START, END = "```tool_code", "```"


class Parser(PythonicParser):
    """Of `f(a=1)` and `print(module.f(a=1))`, or of JSON."""

    markers = {START: END}


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return "\n".join([START, *(write_call(*call) for call in calls), END])
