"""LFM2: `<|tool_call_start|>[f(a='x', n=1)]<|tool_call_end|>`."""

from app.tools.base import MarkedParser, Unreadable, json_calls
from app.tools.pythonic import read_calls, write_call

START, END = "<|tool_call_start|>", "<|tool_call_end|>"


class Parser(MarkedParser):
    """Of a list of Python calls, or of JSON, which the model writes when its prompt asks for it."""

    markers = {START: END}

    def read(self, body):
        try:
            return read_calls(body, self.tools)
        except Unreadable:
            return json_calls(body.strip())


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return f"{START}[{', '.join(write_call(*call) for call in calls)}]{END}"
