"""Gemma: a fenced block of Python calls, ```` ```tool_code ````, a call on each line."""

from app.tools.base import MarkedParser, Unreadable, json_calls
from app.tools.pythonic import read_calls, write_call

START, END = "```tool_code", "```"


class Parser(MarkedParser):
    """Of `f(a=1)` and `print(module.f(a=1))`, or of JSON."""

    markers = {START: END}

    def read(self, body):
        try:
            return read_calls(body, self.tools)
        except Unreadable:
            return json_calls(body.strip())


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return "\n".join([START, *(write_call(*call) for call in calls), END])
