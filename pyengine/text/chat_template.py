"""Messages to prompt text through the model's own jinja2 template, in a sandbox with a budget
(`sandbox.py`)."""

import json

from pyengine.errors import EngineError
from pyengine.text.sandbox import MAX_SIZE, make_environment
from pyengine.text.tokenizer import token_name

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MAX_TEMPLATE = 1_000_000  # characters of source


class ChatTemplate:
    """A model's chat template, rendered as transformers renders it.

    `source`: the jinja2 text, or several named ones ({name: text}, or a list of {"name",
    "template"} as tokenizer_config.json has them); None when the model has none. `special_tokens`:
    tokenizer_config's `bos_token` and so on (strings or objects with `content`); other entries are
    ignored.
    """

    def __init__(self, source, special_tokens=None):
        self._sources = _named(source)
        self._compiled = {}
        self._environment = None
        self._special = {
            key: token_name(value)
            for key, value in (special_tokens or {}).items()
            if key.endswith("_token") and isinstance(token_name(value), str)
        }

    def render(self, messages, tools=None, add_generation_prompt=True, template=None, **kwargs):
        """Prompt text of OpenAI-style `messages`; `kwargs` reach the template as variables
        (`enable_thinking=False`).

        Named templates: `template`, else "tool_use" when there are tools and it exists, else
        "default". Raises E_BAD_REQUEST for malformed messages or tools, E_BAD_TEMPLATE when there
        is no template or it fails.
        """
        variables = {
            **self._special,
            **kwargs,
            "messages": check_messages(messages),
            "tools": check_tools(tools),
            "documents": kwargs.get("documents"),
            "add_generation_prompt": bool(add_generation_prompt),
        }
        name = self._choose(template, tools)
        try:
            return self._run(name, variables)
        except Exception as error:  # a stranger's code, which may raise anything
            detail = f"{type(error).__name__}: {error}"[:300]
            raise EngineError("E_BAD_TEMPLATE", detail=detail, template=name) from error

    def _choose(self, template, tools):
        name = template or ("tool_use" if tools and "tool_use" in self._sources else "default")
        if name not in self._sources:
            known = ", ".join(self._sources)
            detail = (
                f"there is none named '{name}', only: {known}"
                if known
                else "this model has no chat template"
            )
            raise EngineError("E_BAD_TEMPLATE", detail=detail, template=name)
        return name

    def _run(self, name, variables):
        if self._environment is None:
            self._environment = make_environment()
        self._environment.budget.reset()
        if name not in self._compiled:
            if len(self._sources[name]) > MAX_TEMPLATE:
                raise OverflowError(f"the template has {len(self._sources[name])} characters")
            self._compiled[name] = self._environment.from_string(self._sources[name])
        pieces, size = [], 0
        for piece in self._compiled[name].generate(variables):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_SIZE:
                raise OverflowError(f"the prompt is longer than {MAX_SIZE} characters")
        return "".join(pieces)


def _named(source):
    """{name: text} of any form in which a checkpoint holds its templates."""
    if isinstance(source, str):
        return {"default": source}
    if isinstance(source, list):
        source = {
            entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)
        }
    return {
        name: text
        for name, text in (source or {}).items()
        if isinstance(name, str) and isinstance(text, str)
    }


def _refuse(param, got, wanted):
    raise EngineError("E_BAD_REQUEST", param=param, got=got, wanted=wanted)


def check_messages(messages):
    """OpenAI-style messages as templates expect them: contents as text, tool-call arguments as
    objects.

    A new list; raises E_BAD_REQUEST naming the message at fault.
    """
    if not isinstance(messages, list) or not messages:
        _refuse(
            "messages",
            "an empty list" if messages == [] else type(messages).__name__,
            "a list of messages",
        )
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message, where):
    if not isinstance(message, dict):
        _refuse(where, type(message).__name__, "an object with role and content")
    role = message.get("role")
    if role not in ROLES:
        _refuse(f"{where}.role", repr(role)[:80], f"one of {', '.join(ROLES)}")
    # Templates know no "developer": OpenAI's newer name of the system role.
    out = {**message, "role": "system" if role == "developer" else role}
    calls = message.get("tool_calls")
    if calls is not None:
        out["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    if message.get("content") is None and role == "assistant" and calls:
        return {**out, "content": ""}
    return {**out, "content": _content(message.get("content"), f"{where}.content")}


def _content(content, where):
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        _refuse(where, type(content).__name__, "a string or a list of text parts")
    texts = []
    for i, part in enumerate(content):
        text = (
            part.get("text")
            if isinstance(part, dict) and part.get("type", "text") == "text"
            else None
        )
        if not isinstance(text, str):
            got = (
                f"a part of type {part.get('type')!r}"
                if isinstance(part, dict)
                else type(part).__name__
            )
            _refuse(f"{where}[{i}]", got, "a part {type: 'text', text: '...'}")
        texts.append(text)
    return "".join(texts)


def _tool_calls(calls, where):
    if not isinstance(calls, list):
        _refuse(where, type(calls).__name__, "a list of calls")
    out = []
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            _refuse(
                f"{where}[{i}]",
                repr(call)[:80],
                "an object with function.name and function.arguments",
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            # OpenAI sends a string of JSON; templates print the object, and would escape a string
            # once more.
            try:
                arguments = json.loads(arguments)
            except ValueError:
                _refuse(f"{where}[{i}].function.arguments", arguments[:80], "JSON")
        out.append({**call, "function": {**function, "arguments": arguments}})
    return out


def check_tools(tools):
    """OpenAI-style tools, or None when there are none. Raises E_BAD_REQUEST."""
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list):
        _refuse("tools", type(tools).__name__, "a list of tools")
    for i, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            _refuse(
                f"tools[{i}]",
                repr(tool)[:80],
                "an object {type: 'function', function: {name, ...}}",
            )
    return tools
