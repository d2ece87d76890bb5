"""Structured output: what is asked for, the back end that matches it, and one generation's guide.

The back end (XGrammar in a process or a worker of its own) is given from outside, as a tokenizer's
is: `await open_host()` gives an object with

    ask(message, seconds) -> awaitable of the reply, both dicts; the question is on its way when
                             this returns; after `seconds` without one the reply is {late: true};
                             where it has a `promise`, a device can wait for it and ask for more
    async close()            ends it, whatever it is doing

Messages: `table {tokens, stops}` (first), `start {kind, text, strict, rules, schemas} -> {matcher,
mask}`, `step {matcher, token} -> {accepted, empty, mask}`, `rollback {matcher, count} -> {mask}`,
`end {matcher}`, `live -> {compiled, matchers}`. A mask is bytes: bit i % 8 of byte i / 8 says that
id i may follow. A reply with `error` is a refusal; after it, or none in time, the host is not used
again.
"""
from dataclasses import dataclass

from pyengine.errors import EngineError

START_SECONDS = 20.0   # of one grammar's compilation; a good one of a large vocabulary takes some
TABLE_SECONDS = 60.0   # of reading a token table, once a model
STEP_SECONDS = 10.0    # of one mask, which takes a millisecond


@dataclass(frozen=True)
class Grammar:
    """What an answer must match: `text` is a JSON schema, a regular expression or an EBNF grammar
    whose root rule is `root`. `rules`: EBNF by the name of a constant text of the schema that it
    takes the place of. `strict`: of a schema, that objects have only declared properties.
    `param`: the request's parameter, for refusals. `schemas`: of the kind "rules", an EBNF grammar
    that names rules `NAME_root` of its schemas {name, kind, text, rules}, which are strict."""
    kind: str
    text: str = ""
    strict: bool = True
    param: str = "response_format"
    rules: tuple = ()
    schemas: tuple = ()


@dataclass(frozen=True)
class Steps:
    """Of a guided run: at most `count`, none behind an id of `stops`; `word`: (buffer, offset) of
    what is zero before each."""
    count: int
    stops: frozenset
    word: tuple


class Grammars:
    """One model's grammars. `tokens()` -> the token table: a text for each id, its bytes in
    byte-level BPE's alphabet, "" for what no grammar may use; `stops`: the ids that end an answer;
    `vocab`: how many logits there are."""

    def __init__(self, open_host, tokens, stops, vocab):
        self._open, self._tokens, self._vocab = open_host, tokens, vocab
        self._stops = [i for i in stops if i < vocab]
        self.host = None  # while there is one

    async def begin(self, grammar, seconds=START_SECONDS):
        """A `Matcher` at the start of `grammar`. Raises `E_BAD_REQUEST` for one that is refused,
        takes over `seconds` or that no text matches, `E_NO_GRAMMAR` where there is no back end."""
        if self.host is None:
            await self._start_host()
        reply = await self._asked(
            {"op": "start", "kind": grammar.kind, "text": grammar.text, "strict": grammar.strict,
             "rules": dict(grammar.rules), "schemas": grammar.schemas}, grammar, seconds)
        matcher = Matcher(self, self.host, grammar, reply, frozenset(self._stops))
        if _is_empty(matcher.mask):
            await matcher.close()
            raise refused(grammar, "one that no text matches")
        return matcher

    async def _start_host(self):
        self.host = await self._open()
        tokens = self._tokens()[:self._vocab]
        tokens += [""] * (self._vocab - len(tokens))
        message = {"op": "table", "tokens": tokens, "stops": self._stops}
        await self._asked(message, None, TABLE_SECONDS)

    async def _asked(self, message, grammar, seconds):
        return await self.answer(self.host.ask(message, seconds), grammar, seconds)

    async def answer(self, pending, grammar, seconds=STEP_SECONDS):
        """The reply of a question. Raises as `begin`; the host is ended then, as a C++ library that
        gave up cannot go on, and the next grammar starts another."""
        try:
            reply = await pending
        except BaseException:
            await self.close()
            raise
        return await self.checked(reply, grammar, seconds)

    async def checked(self, reply, grammar, seconds=STEP_SECONDS):
        """The reply itself. Raises as `begin`."""
        if "error" in reply or "late" in reply:
            await self.close()
            raise refused(grammar, f"refused ({reply['error']})" if "error" in reply
                          else f"one that takes over {seconds:g} s to prepare")
        return reply

    async def live(self):
        """{compiled, matchers}: how many the back end holds, for leak tests; zeros without one."""
        if self.host is None:
            return {"compiled": 0, "matchers": 0}
        return await self._asked({"op": "live"}, None, STEP_SECONDS)

    async def close(self):
        """Ends the back end and everything in it."""
        host, self.host = self.host, None
        if host is not None:
            await host.close()


def refused(grammar, got):
    """E_BAD_REQUEST of a grammar, or E_NO_GRAMMAR where the back end itself fails."""
    if grammar is None:
        return EngineError("E_NO_GRAMMAR", reason=f"its token table is {got}")
    kind = "schema" if grammar.kind == "rules" else grammar.kind.replace("_", " ")
    wanted = f"a {kind} that some text matches and XGrammar supports"
    return EngineError("E_BAD_REQUEST", param=grammar.param, got=got, wanted=wanted)


def _is_empty(mask):
    return mask.count(0) == len(mask)


class Asked:
    """A reply on its way, which may be awaited again after a device failed meanwhile."""

    def __init__(self, pending):
        self.pending, self._reply = pending, None

    def __await__(self):
        if self._reply is None:
            self._reply = yield from self.pending.__await__()
        return self._reply


class Matcher:
    """A place in one grammar. `mask`: bytes, which ids may follow; `finished`: its end was
    reached."""

    def __init__(self, grammars, host, grammar, reply, stops):
        self._grammars, self._host, self._grammar = grammars, host, grammar
        self._number, self.stops = reply["matcher"], stops
        self.asked = None  # the reply that `advance` began
        self.mask, self.finished = reply["mask"], False

    def _ask(self, op, **fields):
        return self._host.ask({"op": op, "matcher": self._number, **fields}, STEP_SECONDS)

    def advance(self, token):
        """Begins to accept `token`; `settle` waits for what follows it."""
        if token in self.stops:  # the mask has it only where the grammar may end
            self.finished = True
        else:
            self.asked = Asked(self._ask("step", token=token))

    async def settle(self):
        """Waits for what `advance` began. Raises `E_BAD_REQUEST` where no id can follow."""
        if self.asked is not None:
            await self.answered(await self._grammars.answer(self.asked, self._grammar))

    async def answered(self, reply):
        """Takes the last reply that a device waited for, which may come without its mask; {later}
        is the one that it asked for and left. Raises as `settle`."""
        self.asked = None
        if "later" in reply:
            self.asked, self.mask = Asked(reply["later"]), None
            return
        reply = await self._grammars.checked(reply, self._grammar)
        self.mask = reply.get("mask")
        if not reply["accepted"] or self.stops and reply["empty"]:
            raise refused(self._grammar, "one that leads to where no token can follow")
        self.finished = reply["empty"]  # a model without an end of its own

    async def rollback(self, count):
        """Takes back the last `count` ids."""
        await self.settle()
        reply = await self._grammars.answer(self._ask("rollback", count=count), self._grammar)
        self.mask, self.finished = reply["mask"], False

    async def close(self):
        """Lets go of the back end's part; a second time does nothing."""
        host, pending = self._host, self.asked
        self._host = self.asked = None
        if host is None or host is not self._grammars.host:
            return
        if pending is not None:
            await self._grammars.answer(pending, self._grammar)
        message = {"op": "end", "matcher": self._number}
        await self._grammars.answer(host.ask(message, STEP_SECONDS), self._grammar)


class Guide:
    """One generation's: the matcher applies from the answer's first id on, which is behind the
    thinking where there is some, and behind the id `marker` where that must come first, or may
    come anywhere (`free`). `opens`, `closes`: ids of a thinking block's marks or None; `thinking`:
    the prompt has opened one."""

    def __init__(self, matcher, opens=None, closes=None, thinking=False, marker=None, free=False):
        self.matcher, self._opens, self._closes = matcher, opens, closes
        self.thinking, self._first, self._marker, self._free = thinking, True, marker, free

    @property
    def finished(self):
        return self.matcher.finished

    @property
    def stops(self):
        """Ids that end an answer, which the grammar is not asked about."""
        return self.matcher.stops

    def asked(self):
        """The reply on its way that holds the next mask, just as it is; None: ask `mask`."""
        plain = not self.thinking and self._marker is None and not self._first
        return self.matcher.asked if plain else None

    async def answered(self, reply, tokens):
        """Takes the last reply that was waited for, and what was chosen: `asked`'s first. Raises as
        `Matcher.settle`."""
        await self.matcher.answered(reply)
        if tokens and not self.finished and self.matcher.asked is None:
            self.follow(tokens[-1])

    async def mask(self):
        """Bytes of the mask for the next id, a multiple of 4; None: any id may follow."""
        if self.thinking or self._marker is not None and self._free:
            return None
        await self.matcher.settle()
        mask, extra = self.matcher.mask, []
        if self._marker is not None:
            mask, extra = bytes(len(mask)), [self._marker]
        if self._first and self._opens is not None:
            extra.append(self._opens)
        return _with(mask, extra) if extra else mask

    def follow(self, token):
        """Id `token` was chosen: what follows is worked out while the device computes."""
        if self.thinking:
            self.thinking = token != self._closes
        elif self._first and token == self._opens:
            self.thinking = True
        elif self._marker is not None:
            if token == self._marker or not self._free:
                self._marker = None
        else:
            self.matcher.advance(token)
        self._first = False

    async def close(self):
        await self.matcher.close()


def _with(mask, ids):
    found = bytearray(mask)
    for i in ids:
        found[i // 8] |= 1 << i % 8
    return bytes(found)
