"""OpenAI request bodies in, OpenAI responses out: checks every parameter, never touches a model."""

import math
import secrets
import time
from dataclasses import dataclass

from app import logprobs, settings
from pyengine.errors import EngineError

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_STOPS = 16
MAX_LOGPROBS = 20
# Accepted and without effect here: bookkeeping of OpenAI's service.
TOLERATED = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
COMMON = {
    "model",
    "stream",
    "stream_options",
    "stop",
    "max_tokens",
    "n",
    "logit_bias",
    "return_token_ids",
    *settings.SAMPLING,
}
CHAT = COMMON | {
    "messages",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "response_format",
    "logprobs",
    "top_logprobs",
}
COMPLETION = COMMON | {"prompt", "echo", "best_of", "logprobs", "suffix"}
STREAM_OPTIONS = {"include_usage", "continuous_usage_stats"}
# Parameters that have one legal value for now.
ONLY = {
    "n": 1,
    "best_of": 1,
    "echo": False,
    "suffix": "",
    "response_format": {"type": "text"},
}


@dataclass(frozen=True)
class Request:
    """A checked request. `sampling` has every field of SamplingParams; `max_tokens` None is what
    the context leaves."""

    kind: str  # "chat" | "complete"
    sampling: dict
    max_tokens: int | None
    stop: list
    stream: bool
    include_usage: bool
    continuous_usage: bool  # usage so far on every chunk
    return_token_ids: bool  # as vLLM has it: `token_ids` beside the text
    model: str | None
    messages: list | None = None
    tools: list | None = None
    prompt: str | list | None = None  # text, or token ids

    @property
    def tells_ids(self):
        """Whether the answer says more of its ids than their text."""
        return self.return_token_ids or self.sampling.get("top_logprobs") is not None


def bad(param, got, wanted):
    """E_BAD_REQUEST, with the value cut short."""
    shown = got if isinstance(got, Exception) else settings.shown(got)
    return EngineError("E_BAD_REQUEST", param=param, got=str(shown), wanted=wanted)


def parse_chat(body, generation_config=None):
    """A chat completion's body -> Request. Raises E_BAD_REQUEST naming the parameter."""
    _known(body, CHAT)
    if body.get("tool_choice") not in (None, "auto", "none"):
        raise bad("tool_choice", body["tool_choice"], "'auto' or 'none'")
    messages = _messages(body.get("messages"))
    tools = _tools(body.get("tools")) if body.get("tool_choice") != "none" else None
    common = _common(body, generation_config)
    common["sampling"]["top_logprobs"] = _chat_logprobs(body)
    return Request("chat", messages=messages, tools=tools, **common)


def parse_completion(body, generation_config=None):
    """A completion's body -> Request. Raises E_BAD_REQUEST naming the parameter."""
    _known(body, COMPLETION)
    common = _common(body, generation_config)
    common["sampling"]["top_logprobs"] = _top_logprobs(body, "logprobs")
    return Request("complete", prompt=_prompt(body.get("prompt")), **common)


def _top_logprobs(body, name):
    """How many likeliest tokens are asked for at each place; None: no log probabilities."""
    top = body.get(name)
    if top is not None and (
        isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= MAX_LOGPROBS
    ):
        raise bad(name, top, f"an integer from 0 to {MAX_LOGPROBS}")
    return top


def _chat_logprobs(body):
    top = _top_logprobs(body, "top_logprobs")
    if not _flag(body, "logprobs"):
        if top:
            raise bad("top_logprobs", top, "logprobs: true beside it")
        return None
    return top or 0


def _known(body, known):
    if not isinstance(body, dict):
        raise bad("body", type(body).__name__, "an object")
    for name, value in body.items():
        if name not in known and name not in TOLERATED:
            raise bad(name, value, "no such parameter: remove it")
        if name in ONLY and value is not None and value != ONLY[name]:
            raise bad(name, value, f"{ONLY[name]!r}, the one value supported")
        if (
            name in ONLY
            and isinstance(value, bool) is not isinstance(ONLY[name], bool)
            and value is not None
        ):
            raise bad(name, value, f"{ONLY[name]!r}, the one value supported")


def _common(body, generation_config):
    sampling = settings.merged(body, generation_config)
    if sampling["seed"] is None:
        sampling["seed"] = secrets.randbits(32)
    sampling["logit_bias"] = _logit_bias(body.get("logit_bias"))
    stream = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and (
        not isinstance(options, dict) or set(options) - STREAM_OPTIONS or not stream
    ):
        raise bad(
            "stream_options",
            options,
            "{'include_usage': bool, 'continuous_usage_stats': bool}, with stream",
        )
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise bad("model", model, "the id of the loaded model")
    return {
        "sampling": sampling,
        "max_tokens": _max_tokens(body),
        "stop": _stop(body.get("stop")),
        "stream": stream,
        "include_usage": _flag(options or {}, "include_usage"),
        "continuous_usage": _flag(options or {}, "continuous_usage_stats"),
        "return_token_ids": _flag(body, "return_token_ids"),
        "model": model,
    }


def _flag(body, name):
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(name, value, "true or false")
    return bool(value)


def _max_tokens(body):
    given = [n for n in ("max_completion_tokens", "max_tokens") if body.get(n) is not None]
    for name in given:
        try:
            settings.MAX_TOKENS.check(body[name])
        except EngineError as error:
            raise bad(name, body[name], error.facts["wanted"]) from None
    return int(body[given[0]]) if given else None


def check_text(param, text):
    """`text` when it is a string of whole code points. Raises E_BAD_REQUEST: a lone surrogate has
    no UTF-8."""
    if not isinstance(text, str):
        raise bad(param, text, "a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EngineError(
            "E_BAD_REQUEST",
            param=param,
            wanted="text of whole Unicode characters",
            got=f"a lone surrogate U+{ord(text[error.start]):04X} at index {error.start}",
        ) from None
    return text


def _prompt(prompt):
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    wanted = "a non-empty string or list of token ids"
    if isinstance(prompt, list):
        if not prompt or any(
            isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in prompt
        ):
            raise bad("prompt", prompt, wanted)
        return prompt
    if not isinstance(prompt, str) or not prompt:
        raise bad("prompt", prompt, wanted)
    return check_text("prompt", prompt)


def _messages(messages):
    if not isinstance(messages, list) or not messages:
        raise bad("messages", messages, "a non-empty list of {role, content}")
    return [_message(f"messages[{i}]", m) for i, m in enumerate(messages)]


def _message(where, message):
    if not isinstance(message, dict):
        raise bad(where, message, "an object {role, content}")
    role = message.get("role")
    if role not in ROLES:
        raise bad(f"{where}.role", role, "one of " + ", ".join(ROLES))
    tidy = dict(message, role="system" if role == "developer" else role)
    content = message.get("content")
    if content is None and role == "assistant" and message.get("tool_calls"):
        tidy["content"] = ""
        return tidy
    if isinstance(content, list):
        content = "".join(_part(f"{where}.content[{i}]", part) for i, part in enumerate(content))
    tidy["content"] = check_text(f"{where}.content", content)
    return tidy


def _part(where, part):
    if not isinstance(part, dict) or part.get("type") != "text":
        raise bad(where, part, "{'type': 'text', 'text': ...}, as this model reads text only")
    return check_text(f"{where}.text", part.get("text"))


def _tools(tools):
    if tools is None:
        return None
    for i, tool in enumerate(tools if isinstance(tools, list) else [tools]):
        function = tool.get("function") if isinstance(tool, dict) else None
        if (
            not isinstance(tools, list)
            or not isinstance(function, dict)
            or not isinstance(function.get("name"), str)
        ):
            raise bad(f"tools[{i}]", tool, "{'type': 'function', 'function': {'name': ...}}")
    return tools or None


def _stop(stop):
    if stop is None:
        return []
    stops = [stop] if isinstance(stop, str) else stop
    if (
        not isinstance(stops, list)
        or len(stops) > MAX_STOPS
        or any(not isinstance(s, str) or not s for s in stops)
    ):
        raise bad("stop", stop, f"a non-empty string, or up to {MAX_STOPS} of them")
    return [check_text("stop", s) for s in stops]


def _logit_bias(bias):
    if bias is None:
        return {}
    wanted = "{token id: number from -100 to 100}"
    if not isinstance(bias, dict):
        raise bad("logit_bias", bias, wanted)
    tidy = {}
    for key, value in bias.items():
        number = (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
        if not str(key).isdecimal() or not number or not -100 <= value <= 100:
            raise bad(f"logit_bias[{key}]", value, wanted)
        tidy[int(key)] = float(value)
    return tidy


class Responder:
    """Builds the responses of one request; `created` in Unix seconds, the same id and model in
    each. `token_bytes(id) -> bytes` names tokens where log probabilities are asked for."""

    def __init__(self, request, model, clock=time.time, new_id=lambda: secrets.token_hex(12),
                 token_bytes=None):
        self.request, self.model, self._token_bytes = request, model, token_bytes
        self._characters = 0  # of the tokens that had their log probabilities told
        self.chat = request.kind == "chat"
        self.id = ("chatcmpl-" if self.chat else "cmpl-") + new_id()
        self.created = int(clock())

    def _envelope(self, choices, chunk):
        if self.chat:
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        else:
            kind = "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _choice(self, text, finish_reason, delta=None):
        choice = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
        if not self.chat:
            return dict(choice, text=text)
        return dict(choice, delta={"content": text} if delta is None else delta)

    def _logprobs(self, found):
        if found is None:
            return None
        if self.chat:
            return logprobs.chat(found, self._token_bytes)
        told = logprobs.completion(found, self._token_bytes, self._characters)
        self._characters += sum(map(len, told["tokens"]))
        return told

    def opening(self):
        """The first chunk of a chat stream, which names the role; completions have none."""
        if not self.chat:
            return None
        return self._envelope([self._choice("", None, {"role": "assistant", "content": ""})], True)

    def chunk(self, text, so_far=None, ids=(), found=None):
        """A chunk with new text; its ids, their log probabilities `found`, and the usage so far,
        where the request asks for them."""
        choice = dict(self._choice(text, None), logprobs=self._logprobs(found))
        if self.request.return_token_ids:
            choice["token_ids"] = list(ids)
        chunk = self._envelope([choice], True)
        return dict(chunk, usage=so_far) if self.request.continuous_usage else chunk

    def closing(self, finish_reason, usage, timings):
        """The last chunks: the finish reason with our `timings`, then the usage when it was asked
        for."""
        last = self._envelope([self._choice("", finish_reason, {})], True)
        last["timings"] = timings
        if self.request.continuous_usage:
            last["usage"] = usage
        if not self.request.include_usage:
            return [last]
        return [last, dict(self._envelope([], True), usage=usage)]

    def whole(self, text, finish_reason, usage, timings, ids=(), found=None):
        """The response of a request that does not stream."""
        told = self._logprobs(found)
        choice = {"index": 0, "finish_reason": finish_reason, "logprobs": told}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        if self.request.return_token_ids:
            choice["token_ids"] = list(ids)
        return dict(self._envelope([choice], False), usage=usage, timings=timings)


def usage(prompt_tokens, completion_tokens):
    """OpenAI's usage block."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
