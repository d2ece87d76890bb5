"""Log probabilities of an answer's tokens, in OpenAI's two shapes: a chat's and a completion's.

Each id of `token_ids` has its entry, a stop id too. An id that no tokenizer names is shown as
`token_id:<id>`, as vLLM does."""


def _named(token_id, token_bytes):
    """(text, bytes or None) of an id."""
    if token_bytes is None:
        return f"token_id:{token_id}", None
    raw = token_bytes(token_id)
    return raw.decode("utf-8", "replace"), list(raw)


def _entry(token_id, logprob, token_bytes):
    text, raw = _named(token_id, token_bytes)
    return {"token": text, "logprob": logprob, "bytes": raw}


def chat(found, token_bytes):
    """`choices[].logprobs` of a chat for a list of `Logprob`s; `token_bytes(id) -> bytes`, or
    None."""
    return {"content": [
        {**_entry(one.id, one.logprob, token_bytes),
         "top_logprobs": [_entry(i, value, token_bytes) for i, value in one.top]}
        for one in found
    ]}


def completion(found, token_bytes, offset=0):
    """`choices[].logprobs` of a completion; `text_offset` counts characters of the tokens' own
    texts from `offset`."""
    tokens = [_named(one.id, token_bytes)[0] for one in found]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [one.logprob for one in found],
        "top_logprobs": [
            {_named(i, token_bytes)[0]: value for i, value in one.top} for one in found
        ],
        "text_offset": offsets,
    }
