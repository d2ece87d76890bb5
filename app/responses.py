"""What a generation came to -> OpenAI's responses: whole, or chunk by chunk."""

import os
import time

from app import logprobs, tool_calls


class Responder:
    """Builds the responses of one request; `created` in Unix seconds, the same id and model in
    each. `token_bytes(id) -> bytes` names tokens where log probabilities are asked for."""

    def __init__(self, request, model, clock=time.time, new_id=lambda: os.urandom(12).hex(),
                 token_bytes=None):
        self.request, self.model, self._token_bytes = request, model, token_bytes
        self._index = 0  # of the choice that the chunks are of
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
        choice = {"index": self._index, "finish_reason": finish_reason, "logprobs": None}
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

    def opening(self, index=0):
        """Begins choice `index` of a stream: a chat's first chunk, which names its role, or
        None."""
        self._index, self._characters = index, 0
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

    def calls(self, found, so_far=None):
        """The chunks that tell tool calls."""
        for call in found:
            for delta in tool_calls.deltas(call):
                chunk = self._envelope([self._choice("", None, delta)], True)
                yield dict(chunk, usage=so_far) if self.request.continuous_usage else chunk

    def closing(self, finish_reason, so_far, timings):
        """A choice's last chunk: the finish reason with our `timings`."""
        last = self._envelope([self._choice("", finish_reason, {})], True)
        last["timings"] = timings
        if self.request.continuous_usage:
            last["usage"] = so_far
        return last

    def ending(self, used):
        """The chunks after the last choice's: the usage, where it was asked for."""
        return [dict(self._envelope([], True), usage=used)] if self.request.include_usage else []

    def whole(self, outcomes):
        """The response of a request that does not stream, from the `Outcome` of each choice. Its
        `timings` are the first choice's, which computed the prompt."""
        choices = []
        for index, outcome in enumerate(outcomes):
            self._index, self._characters = index, 0
            choices.append(self._whole_choice(outcome))
        whole = self._envelope(choices, False)
        return dict(whole, usage=total(outcomes), timings=outcomes[0].timings)

    def _whole_choice(self, outcome):
        choice = self._choice(outcome.text, outcome.finish_reason)
        choice["logprobs"] = self._logprobs(outcome.logprobs)
        if self.chat:
            del choice["delta"]
            message = {"role": "assistant", "content": outcome.text}
            called = outcome.tool_calls
            choice["message"] = tool_calls.whole(outcome.text, called) if called else message
        if self.request.return_token_ids:
            choice["token_ids"] = list(outcome.ids)
        return choice


def usage(prompt_tokens, completion_tokens):
    """OpenAI's usage block."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def total(outcomes):
    """The usage of a request's choices: the prompt counts once."""
    return usage(outcomes[0].prompt_tokens, sum(len(outcome.ids) for outcome in outcomes))
