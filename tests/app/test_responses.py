"""OpenAI's response shapes, whole and streamed, of one choice and of several."""

from types import SimpleNamespace

from app import responses
from app.session import Outcome


def responder(kind, **fields):
    request = SimpleNamespace(
        kind=kind, include_usage=True, continuous_usage=False, return_token_ids=False
    )
    vars(request).update(fields)
    return responses.Responder(request, "m", clock=lambda: 1700000000.9, new_id=lambda: "7")


def outcome(text="hi", reason="stop", ids=(1,)):
    return Outcome(text, list(ids), reason, prompt_tokens=3, timings={"tokens": len(ids)})


def test_chat_stream_shapes():
    r = responder("chat")
    chunks = [r.opening(), r.chunk("a"), r.closing("stop", {}, {"tokens": 2}),
              *r.ending(responses.usage(3, 2))]
    assert all(
        c["object"] == "chat.completion.chunk" and c["id"] == "chatcmpl-7" and c["model"] == "m"
        for c in chunks
    )
    assert all(c["created"] == 1700000000 for c in chunks)
    assert [c["choices"][0]["delta"] if c["choices"] else None for c in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {},
        None,
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:3]] == [None, None, "stop"]
    assert chunks[2]["timings"] == {"tokens": 2} and chunks[3]["usage"]["total_tokens"] == 5


def test_each_choice_of_a_stream_has_its_index():
    r = responder("chat")
    chunks = [c for i in (0, 1) for c in (r.opening(i), r.chunk("a"), r.closing("stop", {}, {}))]
    assert [c["choices"][0]["index"] for c in chunks] == [0, 0, 0, 1, 1, 1]
    assert chunks[3]["choices"][0]["delta"]["role"] == "assistant"


def test_usage_goes_where_it_was_asked_for():
    assert responder("chat", include_usage=False).ending({}) == []
    assert "usage" not in responder("chat").chunk("a", {"total_tokens": 1})
    each = responder("chat", continuous_usage=True)
    assert each.chunk("a", {"total_tokens": 1})["usage"] == {"total_tokens": 1}
    assert each.closing("stop", {"total_tokens": 2}, {})["usage"] == {"total_tokens": 2}


def test_whole_responses():
    chat = responder("chat").whole([outcome(reason="length")])
    assert chat["object"] == "chat.completion" and chat["usage"]["total_tokens"] == 4
    assert chat["choices"] == [{"index": 0, "finish_reason": "length", "logprobs": None,
                                "message": {"role": "assistant", "content": "hi"}}]
    text = responder("complete").whole([outcome()])
    assert (
        text["object"] == "text_completion"
        and text["choices"][0]["text"] == "hi"
        and text["id"] == "cmpl-7"
    )
    assert responder("complete").opening() is None


def test_the_prompt_of_several_choices_counts_once():
    two = responder("complete", return_token_ids=True).whole([outcome(), outcome("ho", ids=(4, 5))])
    assert [(c["index"], c["text"], c["token_ids"]) for c in two["choices"]] == [
        (0, "hi", [1]), (1, "ho", [4, 5])]
    assert two["usage"] == responses.usage(3, 3) and two["timings"] == {"tokens": 1}
