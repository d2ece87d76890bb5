"""A loaded model with its text line: checked requests in, pieces of text out. Shared by the worker
and the CLI."""

import time
from contextlib import aclosing
from dataclasses import dataclass, field

from app import openai_api, structured, tool_calls
from pyengine.errors import EngineError

SEED_BITS = 32
HEARING = "moonshine"  # the model_type of checkpoints that turn speech, not text, into text


@dataclass
class Outcome:
    """What a generation came to; `timings` is our block in the response."""

    text: str = ""
    ids: list = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int = 0
    timings: dict = field(default_factory=dict)
    logprobs: list | None = None  # of each id, where asked for
    tool_calls: list = field(default_factory=list)

    def add(self, piece):
        """One more of the generation's pieces."""
        self.ids.extend(piece.ids)
        if piece.logprobs is not None:
            self.logprobs = (self.logprobs or []) + piece.logprobs
        self.text += piece.text
        self.tool_calls.extend(getattr(piece, "calls", ()))
        self.finish_reason = piece.finish_reason or self.finish_reason


def sampling_params(sampling):
    """The engine's SamplingParams of a checked `Request.sampling`; any integer seed is folded to 32
    bits."""
    from pyengine.decode.sampling import SamplingParams  # late: parsing needs no engine

    fields = dict(sampling)
    if fields.get("seed") is not None:
        fields["seed"] %= 1 << SEED_BITS
    return SamplingParams(**fields)


def tokenizer_of(checkpoint, model, make_backend=None):
    """The checkpoint's Tokenizer, or None where it carries none: then only token ids can be sent.
    Raises E_NO_TOKENIZER."""
    from pyengine.text.gguf_tokenizer import tokenizer_json_from_gguf
    from pyengine.text.tokenizer import NativeBackend, open_tokenizer

    text, config = checkpoint.tokenizer_json, checkpoint.tokenizer_config
    if text is None and "tokenizer.ggml.tokens" in checkpoint.metadata:
        text, config = tokenizer_json_from_gguf(checkpoint.metadata)
    if text is None:
        return None
    return open_tokenizer(text, config, make_backend or NativeBackend, model)


def template_of(checkpoint):
    """The checkpoint's ChatTemplate; it refuses every render where the checkpoint has none. Imports
    jinja2."""
    from pyengine.text.chat_template import ChatTemplate

    return ChatTemplate(checkpoint.chat_template, checkpoint.tokenizer_config)


@dataclass(frozen=True)
class IdsPiece:
    """A piece of a generation whose ids nothing can turn into text."""

    ids: list
    finish_reason: str | None
    logprobs: list | None = None
    text: str = ""


class Session:
    """Joins one engine with its tokenizer and chat template; `tokenizer` and `template` may be
    None.

    `make_template` is called for the first chat: building one imports jinja2, which start-up must
    not wait for. `device` is closed with the session. `open_grammar` starts a back end for
    structured output, when it is first asked for (`pyengine/decode/grammar.py`).
    """

    def __init__(
        self,
        engine,
        model,
        checkpoint,
        tokenizer,
        make_template,
        clock=time.perf_counter,
        device=None,
        open_grammar=None,
    ):
        self.engine, self.model, self.checkpoint = engine, model, checkpoint
        self.tokenizer, self._make_template, self._clock = tokenizer, make_template, clock
        self._template, self._device = None, device
        self._dialect, self._thinking = None, False  # of tools; whether a prompt began a thought
        self._open_grammar, self._grammars = open_grammar, None

    async def close(self):
        """Ends the engine, the checkpoint's files and the device, if it was given one."""
        await self.engine.close()
        if self._grammars is not None:
            await self._grammars.close()
        self.checkpoint.close()
        if self._device is not None:
            self._device.close()

    @property
    def hears(self):
        """Whether the model transcribes speech; then it answers no prompt."""
        return self.checkpoint.config.get("model_type") == HEARING

    @property
    def can_chat(self):
        """Whether the checkpoint has what a chat needs."""
        return self.tokenizer is not None and bool(self.checkpoint.chat_template)

    @property
    def generation_config(self):
        """The checkpoint's own sampling defaults."""
        return self.checkpoint.generation_config

    async def prompt_ids(self, request):
        """The request's prompt as token ids. Raises E_NO_TOKENIZER, E_BAD_TEMPLATE, E_CONTEXT_FULL,
        E_BAD_REQUEST."""
        if self.hears:
            raise openai_api.bad("model", self.model, "a model that writes; this one transcribes")
        if isinstance(request.prompt, list):
            ids = self._checked_ids(request.prompt)
        elif request.kind == "complete":
            ids = self._need_tokenizer().encode(request.prompt, add_special_tokens=True)
        else:
            text = await self._render(request)
            ids = self._need_tokenizer().encode(text, add_special_tokens=False)
        if not ids:
            raise openai_api.bad("prompt", request.prompt, "text that makes at least one token")
        if len(ids) > self.engine.context:
            raise EngineError("E_CONTEXT_FULL", tokens=len(ids), context=self.engine.context)
        return ids

    def _checked_ids(self, ids):
        vocab = self.engine.model.vocab
        for i in ids:
            if i >= vocab:
                raise openai_api.bad("prompt", i, f"token ids below {vocab}")
        return ids

    async def _render(self, request):
        self._need_tokenizer()
        if self._template is None:
            self._template = await self._make_template(self.checkpoint)
            family = self.checkpoint.config.get("model_type")
            source = self.checkpoint.chat_template
            self._dialect = tool_calls.Dialect(self._template, source, family)
        messages = request.messages[:-1] if request.resume else request.messages
        messages, tools = self._dialect.adapt(messages, request.tools)
        text = self._template.render(messages, tools=tools, add_generation_prompt=True)
        # after the prompt that began it, an answer goes on exactly where it was left
        begun = request.messages[-1]["content"] if request.resume else ""
        self._thinking = tool_calls.in_thought(text, begun)
        return text + begun

    def _need_tokenizer(self):
        if self.tokenizer is None:
            raise EngineError(
                "E_NO_TOKENIZER",
                model=self.model,
                detail="it has no tokenizer.json; send token ids",
            )
        return self.tokenizer

    async def generate(self, request, cancel, outcome, ignore_eos=False):
        """Yields the engine's pieces (text, ids) of `request`, with `calls` where it has tools, and
        fills `outcome` as it goes. Errors as `prompt_ids`."""
        start = self._clock()
        params = sampling_params(request.sampling)
        ids = await self.prompt_ids(request)
        outcome.prompt_tokens = len(ids)
        stop_ids = () if ignore_eos else self.stop_ids()
        guide = await self._guide(request, ids)
        try:
            pieces = self._pieces(ids, params, request, stop_ids, cancel, guide)
            async with aclosing(self._noted(request, start, pieces, outcome)) as noted:
                async for piece in noted:
                    yield piece
        finally:
            if guide is not None:
                await guide.close()

    async def _noted(self, request, start, pieces, outcome):
        """The pieces, with calls where the request has tools, noted in `outcome`."""
        first = None
        reader = self._dialect.reader(request, self._thinking) if request.tools else None
        async with aclosing(pieces):
            async for piece in pieces:
                if first is None and piece.ids:
                    first, first_count = self._clock(), len(piece.ids)
                piece = reader.take(piece) if reader else piece
                outcome.add(piece)
                yield piece
                if reader and reader.over:
                    break
        outcome.finish_reason = outcome.finish_reason or "length"
        outcome.timings = self._timings(start, first, first_count if first else 0, outcome)

    def stop_ids(self):
        """Ids that end an answer: the generation_config's, and those that the tokenizer's config
        names."""
        if self.tokenizer is not None:
            return self.tokenizer.eos_ids(self.generation_config)
        found = self.generation_config.get("eos_token_id")
        return found if isinstance(found, list) else [] if found is None else [found]

    async def _guide(self, request, ids):
        """The `Guide` of a request with a grammar, else None. Raises E_NO_TOKENIZER, E_NO_GRAMMAR,
        E_BAD_REQUEST."""
        if request.grammar is None and not request.strict:
            return None
        tokenizer, vocab = self._need_tokenizer(), self.engine.model.vocab
        grammar, marker = request.grammar, None
        if grammar is None:
            grammar, marker = self._dialect.guided(request, tokenizer)
        if self._grammars is None:
            if self._open_grammar is None:
                raise EngineError("E_NO_GRAMMAR", reason="no back end was given")
            self._grammars = structured.make_grammars(
                self._open_grammar, tokenizer, self.stop_ids(), vocab)
        return await structured.guide(
            self._grammars, grammar, tokenizer, vocab, ids, request.kind == "chat", marker,
            request.demanded is None)

    async def grammars_live(self):
        """{compiled, matchers} that the grammar's back end holds, for leak tests."""
        return await self._grammars.live() if self._grammars else {"compiled": 0, "matchers": 0}

    def _pieces(self, ids, params, request, stop_ids, cancel, guide):
        options = {"max_tokens": request.max_tokens, "stop_ids": stop_ids, "cancel": cancel}
        if guide is not None:
            options["guide"] = guide
        if self.tokenizer is not None:
            continues = request.kind == "complete" or request.resume
            if request.tools:
                options["visible"] = tool_calls.visible_ids(self.tokenizer)
            return self.engine.generate(ids, params, stop=request.stop, continues=continues,
                                        **options)
        return self._id_pieces(ids, params, options)

    async def _id_pieces(self, ids, params, options):
        async for batch in self.engine.generate_ids(ids, params, **options):
            yield IdsPiece(batch.ids, batch.finish_reason, batch.logprobs)

    def _timings(self, start, first, first_count, outcome):
        """ttft_ms from the request to its first token; rates in tokens per second, None where not
        measurable."""
        stats = self.engine.stats()
        decode = stats.get("decode_tps")
        if first is not None and decode is None and len(outcome.ids) > first_count:
            decode = (len(outcome.ids) - first_count) / max(self._clock() - first, 1e-9)
        ttft = None if first is None else (first - start) * 1000
        return {
            "ttft_ms": ttft,
            "prefill_tps": stats.get("prefill_tps"),
            "decode_tps": decode,
            "tokens": len(outcome.ids),
        }
