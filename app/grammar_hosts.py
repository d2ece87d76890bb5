"""XGrammar's two homes: a worker of the browser, and natively a Node process. Both answer the
questions of `pyengine/decode/grammar.py`."""

import asyncio
import base64
import contextlib
import json
import sys
from pathlib import Path

from pyengine.errors import EngineError

ROOT = Path(__file__).resolve().parents[1]
LINE = 1 << 24  # bytes that a reply's line may have: a mask has some 50 kB


class JsHost:
    """Over the object of `openGrammar` in `pwa_shell/js/grammar.js`."""

    def __init__(self, js_object):
        self._js = js_object
        self._askers = {}  # matcher -> JavaScript's function of a token that asks for its step

    def ask(self, message, seconds):
        promise = self._js.ask(json.dumps(message), seconds)
        matcher = message.get("matcher")
        if matcher is not None and matcher not in self._askers:
            self._askers[matcher] = self._js.asker(matcher, seconds)
        if message["op"] == "end":
            self._askers.pop(matcher)
        return JsReply(promise, self._askers.get(matcher))

    async def close(self):
        self._js.close()


class JsReply:
    """A reply on its way: JavaScript's `promise`, and the `asker` of its matcher, so that
    JavaScript can go on asking."""

    def __init__(self, promise, asker=None):
        self.promise, self.asker = promise, asker

    def again(self, promise):
        """Another reply of the same matcher."""
        return JsReply(promise, self.asker)

    def __await__(self):
        answer = yield from self.promise.__await__()
        reply = json.loads(answer.reply)
        if answer.mask is not None:
            reply["mask"] = answer.mask.to_bytes()
        return reply


class NodeHost:
    """A Node process that runs `grammar_host.mjs`. One question at a time."""

    def __init__(self, process):
        self._process = process

    @classmethod
    async def open(cls):
        """Starts it. Raises E_NO_GRAMMAR where there is no Node, or no module for it."""
        node, module = _bundle()
        process = await asyncio.create_subprocess_exec(
            node, str(ROOT / "app/grammar_host.mjs"), str(ROOT / "pwa_shell/grammar_core.js"),
            str(module), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, limit=LINE)
        return cls(process)

    def ask(self, message, seconds):
        if not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
        return self._reply(seconds)

    async def _reply(self, seconds):
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError:
            return {"late": True}
        if not line:
            return {"error": "its Node process ended"}
        reply = json.loads(line)
        if "mask" in reply:
            reply["mask"] = base64.b64decode(reply["mask"])
        return reply

    async def close(self):
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._process._transport.close()


def _bundle():
    """(node, xgrammar.js): the site's own bundle, made where it is not there yet."""
    from app.build import node  # late: the browser's wheel has no build modules
    from app.build.console import BuildError

    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the build says is no part of the answer
            program, _ = node.tools()
            node.ensure_modules()
            return program, node.vendor() / "xgrammar.js"
    except BuildError as error:
        raise EngineError("E_NO_GRAMMAR", reason=str(error)) from None
