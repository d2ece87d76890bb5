"""LFM2: `<|tool_call_start|>[f(a='x', n=1)]<|tool_call_end|>`."""

from app.tools import grammar
from app.tools.pythonic import PythonicParser, call_rules, write_call

START, END = "<|tool_call_start|>", "<|tool_call_end|>"
FRAME = grammar.Frame(START, "[", ", ", "]")
__all__ = ["FRAME", "Parser", "call_rules", "write"]


class Parser(PythonicParser):
    """Of a list of Python calls, or of JSON."""

    markers = {START: END}


def write(calls):
    """The text of calls [(name, arguments)], as the model would have written them."""
    return f"{START}[{', '.join(write_call(*call) for call in calls)}]{END}"
