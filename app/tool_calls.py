"""OpenAI's `tools`: the request's part of them, prompts for models with and without a format of
their own, and answers that come apart into text and calls."""

import json
import os
from dataclasses import dataclass, field

from app import settings
from app.tools import formats, gemma
from app.tools.base import NAME, Call
from app.tools.grammar import Function, calls_grammar
from pyengine.errors import EngineError

MAX_TOOLS = 128
MAX_TOOLS_SIZE = 200_000  # characters of JSON
_WANTED_TOOL = "{'type': 'function', 'function': {'name': letters and digits, 'parameters': {}}}"


def _bad(param, got, wanted):
    return EngineError("E_BAD_REQUEST", param=param, got=settings.shown(got), wanted=wanted)


def parse_tools(body):
    """{tools (a list or None), parallel (whether an answer may hold several calls), demanded (names
    of functions of which one must be called, or None)} of a request's body. Raises E_BAD_REQUEST
    naming the parameter."""
    tools = _checked_tools(body.get("tools"))
    choice = body.get("tool_choice")
    names = [tool["function"]["name"] for tool in tools or ()]
    demanded = names if choice == "required" else None
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if choice.get("type") != "function" or name not in names:
            wanted = "{'type': 'function', 'function': {'name': one of tools}}"
            raise _bad("tool_choice", choice, wanted)
        demanded = [name]
    elif choice not in (None, "auto", "none", "required"):
        raise _bad("tool_choice", choice, "'auto', 'none', 'required' or a function of tools")
    if choice not in (None, "none") and not tools:
        raise _bad("tool_choice", choice, "tools beside it")
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise _bad("parallel_tool_calls", parallel, "true or false")
    return {"tools": None if choice == "none" else tools, "parallel": parallel is not False,
            "demanded": demanded}


def _checked_tools(tools):
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise _bad("tools", tools, "a list of " + _WANTED_TOOL)
    if len(tools) > MAX_TOOLS or len(json.dumps(tools)) > MAX_TOOLS_SIZE:
        wanted = f"at most {MAX_TOOLS} tools of {MAX_TOOLS_SIZE} characters of JSON together"
        raise _bad("tools", tools, wanted)
    names = set()
    for i, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type", "function") != "function":
            raise _bad(f"tools[{i}]", tool, _WANTED_TOOL)
        name = function.get("name")
        if not isinstance(name, str) or not NAME.match(name) or name in names:
            wanted = "a name of its own: letters, digits, _ . -"
            raise _bad(f"tools[{i}].function.name", name, wanted)
        names.add(name)
        if not isinstance(function.get("parameters", {}), dict):
            raise _bad(f"tools[{i}].function.parameters", function["parameters"], "a JSON schema")
        if not isinstance(function.get("strict"), (bool, type(None))):
            raise _bad(f"tools[{i}].function.strict", function["strict"], "true or false")
    return tools or None


def check_message(where, message):
    """Raises E_BAD_REQUEST for a message whose `tool_calls` or `tool_call_id` are not OpenAI's."""
    if not isinstance(message.get("tool_call_id", ""), str):
        raise _bad(f"{where}.tool_call_id", message["tool_call_id"], "the id of a call")
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or message["role"] != "assistant":
        raise _bad(f"{where}.tool_calls", calls, "a list of calls, in an assistant's message")
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not NAME.match(name):
            raise _bad(f"{where}.tool_calls[{i}]", call, "{'function': {'name', 'arguments'}}")
        if not isinstance(_arguments(function), dict):
            wanted = "the text of a JSON object"
            raise _bad(f"{where}.tool_calls[{i}].function.arguments", function["arguments"], wanted)


def _arguments(function):
    arguments = function.get("arguments") or {}
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return None


class Dialect:
    """How one model is told of tools and writes calls.

    `template` renders (`text.chat_template.ChatTemplate`), `source` is its text in whatever form
    the checkpoint holds it, `family` the `model_type`. A template that does not show tools, calls
    or results gets them as text (`docs/tools.md`); which it shows is found by rendering once.
    """

    def __init__(self, template, source, family):
        self._template = template
        text = source if isinstance(source, str) else json.dumps(source, ensure_ascii=False)
        self.format = formats.format_of(text, family or "")
        self._shows_tools = self._shows_turns = self._shows_system = None

    def adapt(self, messages, tools):
        """(messages, tools) as the template takes them."""
        turns = any(m["role"] == "tool" or m.get("tool_calls") for m in messages)
        if not tools and not turns:
            return messages, tools
        if self._shows_tools is None:
            self._probe()
        if turns and not self._shows_turns:
            messages = _joined([self._turn(message) for message in messages])
        if tools and not self._shows_tools:
            messages, tools = self._told(messages, self._prompt(tools)), None
        return messages, tools

    def reader(self, request, thinking):
        """A `Reader` of the answer to a request with tools. `thinking`: see `in_thought`."""
        schemas = {t["function"]["name"]: t["function"].get("parameters") for t in request.tools}
        parser = self.format.Parser(schemas, thinking)
        return Reader(parser, request.parallel)

    def guided(self, request, tokenizer):
        """(the Grammar of an answer that calls one of `request.demanded`, or calls what it likes
        where functions are strict; the id of the format's opening mark where the grammar begins
        behind it, as one token is that mark). Raises E_BAD_REQUEST."""
        free, mark = request.demanded is None, self.format.FRAME.marker
        functions = [Function.of(tool, i) for i, tool in enumerate(request.tools)
                     if free or tool["function"]["name"] in request.demanded]
        marker = tokenizer.token_to_id(mark) if mark else None
        if not free and marker not in tokenizer.special_ids:  # then the grammar can write it
            marker = None
        grammar = calls_grammar(self.format, functions, request.parallel, marker is None, free)
        return grammar, marker

    def _probe(self):
        user = {"role": "user", "content": "question"}
        tool = {"type": "function", "function": {"name": "probed_tool", "description": "d",
                "parameters": {"type": "object", "properties": {}, "required": []}}}
        call = {"id": "call12345", "type": "function",
                "function": {"name": "probed_call", "arguments": {"probed_key": "v"}}}
        turn = [user, {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "name": "probed_call", "tool_call_id": "call12345",
                 "content": "probed_result"}]
        self._shows_tools = self._renders([user], [tool], "probed_tool")
        words = ("probed_call", "probed_key", "probed_result")
        # ChatML templates print any role: only one that knows tools knows what a result is
        self._shows_turns = self._shows_tools and self._renders(turn, [tool], *words)
        system = {"role": "system", "content": "probed_system"}
        self._shows_system = self._renders([system, user], None, "probed_system")

    def _renders(self, messages, tools, *words):
        try:
            text = self._template.render(messages, tools=tools, add_generation_prompt=True)
        except EngineError:
            return False
        return all(word in text for word in words)

    def _turn(self, message):
        """A call or a result as plain text."""
        if message["role"] == "tool":
            content = message["content"]
            if self.format is gemma:
                return {"role": "user", "content": f"```tool_output\n{content}\n```"}
            if self._shows_tools:
                return message  # only the calls need help
            return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
        calls = message.get("tool_calls")
        if not calls:
            return message
        written = self.format.write([(c["function"]["name"], _arguments(c["function"]))
                                     for c in calls])
        text = f"{message['content']}\n{written}" if message["content"] else written
        return {"role": "assistant", "content": text}

    def _prompt(self, tools):
        listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
        example = self.format.write([("NAME", {"PARAMETER": "VALUE"})])
        return (
            "You can call functions. These are described here, one a line, as JSON:\n"
            f"{listed}\n\n"
            "To call one, write just this, with its name and values for its parameters:\n"
            f"{example}\n"
            "The next message then has its result. Where no function helps, answer directly."
        )

    def _told(self, messages, prompt):
        first = messages[0]
        if first["role"] == "system" or not self._shows_system and first["role"] == "user":
            return [{**first, "content": f"{first['content']}\n\n{prompt}"}, *messages[1:]]
        role = "system" if self._shows_system else "user"
        return [{"role": role, "content": prompt}, *messages]


def _joined(messages):
    """Neighbouring messages of a user as one: several templates want roles to alternate."""
    out = []
    for message in messages:
        if out and message["role"] == "user" == out[-1]["role"]:
            out[-1] = {**out[-1], "content": f"{out[-1]['content']}\n{message['content']}"}
        else:
            out.append(message)
    return out


def in_thought(prompt, begun=""):
    """Whether an answer goes on inside a thought, which its prompt, or what is there of it,
    opened."""
    if "<think>" in begun or "</think>" in begun:
        return begun.rfind("<think>") > begun.rfind("</think>")
    return prompt.rstrip().endswith("<think>")


def visible_ids(tokenizer):
    """Ids of the special tokens that mark calls, which text otherwise leaves out."""
    ids = map(tokenizer.token_to_id, formats.VISIBLE)
    return frozenset(i for i in ids if i is not None)


@dataclass(frozen=True)
class ToolPiece:
    """A piece of an answer, its calls taken out of the text; `calls` are OpenAI's."""

    text: str
    ids: list
    finish_reason: str | None
    logprobs: list | None = None
    calls: list = field(default_factory=list)


class Reader:
    """Takes calls out of a generation's pieces. White space around calls is left out; with
    `parallel` False the answer ends (`over`) with its first call."""

    def __init__(self, parser, parallel=True, new_id=lambda: "call_" + os.urandom(12).hex()):
        self._parser, self._parallel, self._new_id = parser, parallel, new_id
        self._space, self._count = "", 0
        self.over = False

    def take(self, piece):
        """The engine's `piece` as a ToolPiece."""
        events = self._parser.push(piece.text)
        if piece.finish_reason:
            events += self._parser.finish()
        text, calls = "", []
        for event in events:
            if self.over:
                break
            if isinstance(event, Call):
                calls.append(self._call(event))
                self.over = not self._parallel
            else:
                text += self._spaced(event)
        reason = piece.finish_reason
        if reason and not self._count:
            text, self._space = text + self._space, ""
        if self._count and (self.over or reason == "stop"):
            reason = "tool_calls"
        return ToolPiece(text, piece.ids, reason, piece.logprobs, calls)

    def _spaced(self, text):
        text = self._space + text
        kept = text.rstrip()
        self._space = text[len(kept) :]
        return kept

    def _call(self, call):
        self._space = ""
        index, self._count = self._count, self._count + 1
        function = {"name": call.name, "arguments": call.arguments}
        return {"index": index, "id": self._new_id(), "type": "function", "function": function}


def deltas(call):
    """A call as OpenAI streams it: its name, then its arguments."""
    begun = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
    rest = {"index": call["index"], "function": {"arguments": call["function"]["arguments"]}}
    return [{"tool_calls": [begun]}, {"tool_calls": [rest]}]


def whole(text, calls):
    """An assistant's message with calls, as OpenAI sends it at once."""
    told = [{key: call[key] for key in ("id", "type", "function")} for call in calls]
    return {"role": "assistant", "content": text or None, "tool_calls": told}
