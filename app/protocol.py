"""The closed union of messages between page and worker, version 1; `pwa_shell/js/protocol.js` is
its twin.

page -> worker   {v: 1, id, method, params}        worker -> page   {v: 1, id, event, data}

An event may have samples beside it, and `transcribe` beside its params: `audio`, a Float32Array.
"""

from dataclasses import dataclass

from pyengine.errors import EngineError

VERSION = 1
METHODS = ("load", "chat", "complete", "speak", "transcribe", "stats", "profile", "selftest",
           "catalog", "unload", "cancel")
EVENTS = ("progress", "chunk", "result", "error")
STAGES = ("boot", "download", "read", "upload", "compile", "warmup", "ready")

# method: its closed set of params, or None where the body is checked elsewhere (OpenAI's)
PARAMS = {
    "load": {"model", "quant", "kv", "context", "burst", "device", "token", "hub", "tune", "apart",
             "delta_state", "variants", "platform", "memory_gib", "budget_mb"},
    "chat": None,
    "complete": None,
    "speak": None,
    "transcribe": None,
    "stats": set(),
    "profile": {"program", "position", "repeats"},
    "selftest": set(),
    "catalog": {"context", "platform", "memory_gib", "budget_mb"},
    "unload": set(),
    "cancel": {"target"},
}


@dataclass(frozen=True)
class Call:
    """One request of the page."""

    id: str
    method: str
    params: dict
    audio: bytes | None = None  # f32 samples


def parse(message):
    """A message (JSON-able dict) as a Call. Raises E_BAD_REQUEST naming what is wrong."""
    if not isinstance(message, dict) or message.get("v") != VERSION:
        got = message.get("v") if isinstance(message, dict) else type(message).__name__
        raise EngineError(
            "E_BAD_REQUEST", param="v", got=repr(got), wanted=f"protocol version {VERSION}"
        )
    extra = sorted(set(message) - {"v", "id", "method", "params", "audio"})
    if extra:
        raise EngineError(
            "E_BAD_REQUEST", param=extra[0], got="given", wanted="only v, id, method and params"
        )
    id_, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if not isinstance(id_, str) or not id_:
        raise EngineError("E_BAD_REQUEST", param="id", got=repr(id_), wanted="a non-empty string")
    if method not in METHODS:
        raise EngineError(
            "E_BAD_REQUEST", param="method", got=repr(method), wanted=", ".join(METHODS)
        )
    if not isinstance(params, dict):
        raise EngineError(
            "E_BAD_REQUEST", param="params", got=type(params).__name__, wanted="an object"
        )
    known = PARAMS[method]
    for name in params:
        if known is not None and name not in known:
            wanted = ", ".join(sorted(known)) or "no parameters"
            raise EngineError("E_BAD_REQUEST", param=name, got="given", wanted=wanted)
    if method == "cancel" and not isinstance(params.get("target"), str):
        raise EngineError(
            "E_BAD_REQUEST",
            param="target",
            got=repr(params.get("target")),
            wanted="the id of a request",
        )
    if (message.get("audio") is not None) != (method == "transcribe"):
        got = "missing" if method == "transcribe" else "given"
        wanted = "samples of transcribe, and of nothing else"
        raise EngineError("E_BAD_REQUEST", param="audio", got=got, wanted=wanted)
    return Call(id_, method, params, message.get("audio"))


def event(id_, name, data):
    """A worker -> page message. `ValueError` for a name outside the union: that is a bug here."""
    if name not in EVENTS:
        raise ValueError(f"event {name!r} is not one of {EVENTS}")
    return {"v": VERSION, "id": id_, "event": name, "data": data}
