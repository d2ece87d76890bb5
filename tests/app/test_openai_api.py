import json

import pytest

from app import openai_api
from pyengine.errors import EngineError

USER = [{"role": "user", "content": "hi"}]

BAD_COMMON = [
    ({"temperature": -1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": -7}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.01}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"top_k": 2.5}, "top_k"),
    ({"min_p": -0.1}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"frequency_penalty": 2.5}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"seed": "7"}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": "\ud800"}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {}}, "stream_options"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options"),
    ({"logit_bias": [1]}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias[x]"),
    ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
    ({"model": 5}, "model"),
    ({"return_token_ids": 1}, "return_token_ids"),
    ({"wibble": 1}, "wibble"),
    ({"logprobs": "yes"}, "logprobs"),
    ({"logprobs": 21}, "logprobs"),
]
BAD_MESSAGES = [
    (None, "messages"),
    ([], "messages"),
    ("hi", "messages"),
    ([1], "messages[0]"),
    ([{"role": "king", "content": ""}], "messages[0].role"),
    ([{"role": "user"}], "messages[0].content"),
    ([{"role": "assistant", "content": None}], "messages[0].content"),
    ([*USER, {"role": "user", "content": "a\udc00"}], "messages[1].content"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]"),
    ([{"role": "user", "content": [{"type": "text", "text": 4}]}], "messages[0].content[0].text"),
]


def refused(parse, body):
    with pytest.raises(EngineError) as caught:
        parse(body)
    assert caught.value.code == "E_BAD_REQUEST"
    assert json.dumps(caught.value.to_dict(), ensure_ascii=True)
    return caught.value.facts["param"]


@pytest.mark.parametrize(("fields", "param"), BAD_COMMON, ids=lambda v: str(v)[:40])
def test_bad_common_parameters_are_named(fields, param):
    assert refused(openai_api.parse_chat, {"messages": USER, **fields}) == param
    assert refused(openai_api.parse_completion, {"prompt": "hi", **fields}) == param


@pytest.mark.parametrize(("messages", "param"), BAD_MESSAGES, ids=lambda v: ascii(v)[:40])
def test_bad_messages_are_named(messages, param):
    assert refused(openai_api.parse_chat, {"messages": messages}) == param


@pytest.mark.parametrize("messages", [USER, [{"role": "assistant", "content": "I"}],
                                      [*USER, {"role": "assistant", "content": ""}]])
def test_only_an_answer_with_text_can_be_continued(messages):
    body = {"messages": messages, "continue_final_message": True}
    assert refused(openai_api.parse_chat, body) == "continue_final_message"
    wrong = {"messages": USER, "continue_final_message": "yes"}
    assert refused(openai_api.parse_chat, wrong) == "continue_final_message"


@pytest.mark.parametrize("prompt", [None, "", [], [""], ["a", "b"], [1, -1], [True], [1.5], 7, {}])
def test_bad_prompts_are_refused(prompt):
    assert refused(openai_api.parse_completion, {"prompt": prompt}) == "prompt"


def test_parameters_of_the_other_kind_are_unknown():
    assert refused(openai_api.parse_chat, {"messages": USER, "prompt": "x"}) == "prompt"
    assert refused(openai_api.parse_completion, {"prompt": "x", "messages": USER}) == "messages"
    assert refused(openai_api.parse_chat, []) == "body"


def test_bad_tools_are_refused():
    for tools in ([], [{}], [{"function": {"name": 5}}], {"function": {"name": "f"}}):
        if tools == []:
            assert openai_api.parse_chat({"messages": USER, "tools": tools}).tools is None
        else:
            param = refused(openai_api.parse_chat, {"messages": USER, "tools": tools})
            assert param.startswith("tools")
    assert (
        refused(openai_api.parse_chat, {"messages": USER, "tool_choice": "required"})
        == "tool_choice"
    )


def test_null_means_absent_and_tolerated_names_pass():
    body = {
        "messages": USER,
        "user": "u",
        "metadata": {"a": "b"},
        "n": 1,
        **{
            name: None
            for name in (
                "temperature",
                "max_tokens",
                "seed",
                "stop",
                "logit_bias",
                "tools",
                "stream",
            )
        },
    }
    request = openai_api.parse_chat(body)
    assert (
        request.sampling["temperature"] == 1.0 and request.max_tokens is None and not request.stream
    )


def test_a_models_own_defaults_hold_unless_odd():
    body = {"messages": USER}
    assert (
        openai_api.parse_chat(body, {"temperature": 0.2, "top_k": 40}).sampling["temperature"]
        == 0.2
    )
    assert openai_api.parse_chat(body, {"temperature": 0.2, "top_k": 40}).sampling["top_k"] == 40
    assert openai_api.parse_chat(body, {"temperature": -4}).sampling["temperature"] == 1.0
    assert (
        openai_api.parse_chat({**body, "temperature": 0.7}, {"temperature": 0.2}).sampling[
            "temperature"
        ]
        == 0.7
    )


def test_parts_join_and_developer_is_system():
    messages = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        }
    ]
    assert openai_api.parse_chat({"messages": messages}).messages == [
        {"role": "system", "content": "ab"}
    ]


def test_max_completion_tokens_wins_and_seeds_are_drawn():
    request = openai_api.parse_chat({"messages": USER, "max_tokens": 5, "max_completion_tokens": 9})
    assert request.max_tokens == 9
    seeds = {openai_api.parse_completion({"prompt": "x"}).sampling["seed"] for _ in range(8)}
    assert len(seeds) > 1
    assert openai_api.parse_completion({"prompt": "x", "seed": -1}).sampling["seed"] == -1


def test_a_megabyte_of_text_is_a_legal_prompt():
    assert len(openai_api.parse_completion({"prompt": "x" * (1 << 20)}).prompt) == 1 << 20


def test_choices_take_the_seeds_that_follow():
    request = openai_api.parse_completion({"prompt": "x", "n": 3, "best_of": 3, "seed": 7})
    assert [choice.sampling["seed"] for choice in request.choices()] == [7, 8, 9]
    assert openai_api.parse_chat({"messages": USER}).n == 1
    for body in ({"n": 2, "best_of": 1}, {"best_of": 2}, {"best_of": True}):
        assert refused(openai_api.parse_completion, {"prompt": "x", **body}) == "best_of"
    for n in (0, 17, 1.5, True, "2"):
        assert refused(openai_api.parse_chat, {"messages": USER, "n": n}) == "n"
