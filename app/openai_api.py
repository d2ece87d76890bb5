"""OpenAI request bodies -> Requests: checks every parameter, never touches a model. The answers are
`app/responses.py`."""

import math
from dataclasses import dataclass, replace

from app import settings, structured, tool_calls
from pyengine.decode.sampling import random_seed
from pyengine.errors import EngineError

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_STOPS = 16
MAX_LOGPROBS = 20
MAX_CHOICES = 16
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
    "response_format",
    *settings.SAMPLING,
}
CHAT = COMMON | {
    "messages",
    "max_completion_tokens",
    "continue_final_message",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "logprobs",
    "top_logprobs",
}
COMPLETION = COMMON | {"prompt", "echo", "best_of", "logprobs", "suffix"}
STREAM_OPTIONS = {"include_usage", "continuous_usage_stats"}
# Parameters that have one legal value for now.
ONLY = {
    "echo": False,
    "suffix": "",
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
    grammar: object = None  # a pyengine.decode.grammar.Grammar that the answer must match
    n: int = 1  # choices, one after the other; choice i has the seed plus i
    messages: list | None = None
    tools: list | None = None
    resume: bool = False  # the last message is an answer to write on from
    parallel: bool = True  # an answer may hold several calls
    demanded: list | None = None  # names of functions of which the answer must call one
    prompt: str | list | None = None  # text, or token ids

    @property
    def strict(self):
        """Whether the answer's calls must hold to their functions' schemas."""
        strict = [tool["function"].get("strict") for tool in self.tools or ()]
        return self.demanded is not None or any(strict)

    @property
    def tells_ids(self):
        """Whether the answer says more of its ids than their text."""
        return self.return_token_ids or self.sampling.get("top_logprobs") is not None

    def choices(self):
        """One request for each choice. Those after the first find the prompt computed."""
        for i in range(self.n):
            yield replace(self, sampling={**self.sampling, "seed": self.sampling["seed"] + i})


def bad(param, got, wanted):
    """E_BAD_REQUEST, with the value cut short."""
    shown = got if isinstance(got, Exception) else settings.shown(got)
    return EngineError("E_BAD_REQUEST", param=param, got=str(shown), wanted=wanted)


def parse_chat(body, generation_config=None):
    """A chat completion's body -> Request. Raises E_BAD_REQUEST naming the parameter."""
    _known(body, CHAT)
    messages = _messages(body.get("messages"))
    tools = tool_calls.parse_tools(body)
    common = _common(body, generation_config)
    common["sampling"]["top_logprobs"] = _chat_logprobs(body)
    resume = _resume(body, messages)
    if resume and (common["grammar"] or tools["demanded"]):
        wanted = "false beside response_format and a demanded tool_choice"
        raise bad("continue_final_message", True, wanted)
    if common["grammar"] and tools["demanded"]:
        raise bad("tool_choice", body["tool_choice"], "'auto' or 'none' beside response_format")
    return Request("chat", messages=messages, resume=resume, **tools, **common)


def _resume(body, messages):
    """Whether the last message is an answer to write on from."""
    resume = _flag(body, "continue_final_message")
    if resume and (len(messages) < 2 or messages[-1]["role"] != "assistant"
                   or not messages[-1]["content"]):
        wanted = "false, unless an assistant's message with text is the last of several"
        raise bad("continue_final_message", True, wanted)
    return resume


def parse_completion(body, generation_config=None):
    """A completion's body -> Request. Raises E_BAD_REQUEST naming the parameter."""
    _known(body, COMPLETION)
    common = _common(body, generation_config)
    common["sampling"]["top_logprobs"] = _top_logprobs(body, "logprobs")
    if body.get("best_of") not in (None, common["n"]) or isinstance(body.get("best_of"), bool):
        raise bad("best_of", body["best_of"], f"{common['n']}, the value of n, or nothing")
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
        sampling["seed"] = random_seed()
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
        "n": _count(body),
        "grammar": structured.parse(body),
    }


def _count(body):
    n = 1 if body.get("n") is None else body["n"]
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_CHOICES:
        raise bad("n", n, f"an integer from 1 to {MAX_CHOICES}")
    return n


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
    tool_calls.check_message(where, message)
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
