"""The official openai client, unchanged, in a page of the app: what it asks is answered here."""
import json
import shutil
from pathlib import Path

import pytest

from tests.app.grammar_kit import valid
from tests.browser.api_kit import open_client, open_engine
from tests.browser.test_structured import SCHEMAS
from tests.support import WAIT_MS

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.api_kit"]
ROWS = "async ([name, given]) => (await import('./conformance.js')).rows[name](client(), given)"


@pytest.fixture(scope="module")
def tabs(browser):
    context = browser.new_context(service_workers="allow")
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture(scope="module")
def row(tabs, api_root):
    """row(name) -> what that row of conformance.js found, from a tab that only has the client, and
    with the server gone since both tabs came."""
    from tests.browser.pwa_kit import AppSite
    shutil.copy(Path(__file__).with_name("conformance.js"), api_root)
    site = AppSite(api_root)
    engine = open_engine(tabs, site)
    client = open_client(tabs, site)
    client.page.evaluate("import('./conformance.js').then(() => 1)")
    site.cut()
    yield lambda name, given=None: client.page.evaluate(ROWS, [name, given])
    (worker,) = tabs.service_workers
    assert worker.evaluate("jirdApi.live") == 0
    assert engine.page.evaluate("async () => (await engine.stats()).live.requests") == 0
    assert engine.errors == [] and client.errors == []


def test_models(row):
    assert row("models") == {"ids": ["tiny"], "object": "model", "owner": "jird"}


def test_chat_and_seed(row):
    chat = row("chat")
    assert (chat["object"], chat["role"], chat["model"]) == ("chat.completion", "assistant", "tiny")
    assert chat["reason"] == "length" and chat["usage"]["completion_tokens"] == 8
    first, again, other = row("seed")
    assert first == again == chat["text"] != other


def test_stream(row):
    stream, chat = row("stream"), row("chat")
    assert stream["text"] == chat["text"] and stream["usage"] == chat["usage"]
    assert (stream["ids"], stream["role"], stream["reason"]) == (1, "assistant", "length")
    assert row("runner") == chat["text"]


def test_stop_bias_and_completions(row):
    found = row("stop")
    assert found["reason"] == "stop"
    assert found["cut"] == found["free"].split(found["stop"])[0]
    assert row("bias") == "AAA"
    plain = row("completions")
    assert plain["object"] == "text_completion" and plain["text"] == plain["streamed"] != ""


def test_logprobs(row):
    content = row("logprobs")["content"]
    assert len(content) == 8
    for one in content:
        assert one["logprob"] == one["top_logprobs"][0]["logprob"] <= 0   # greedy: the likeliest
        assert len(one["top_logprobs"]) == 3 and len(one["bytes"]) == 1


def test_two_choices(row):
    found = row("several")
    assert found["texts"] == found["streamed"] and found["texts"][1] == found["alone"]
    assert found["texts"][0] != found["texts"][1] and found["usage"]["completion_tokens"] == 16


def test_five_schemas(row):
    for found, schema in zip(row("schemas", SCHEMAS), SCHEMAS, strict=True):
        assert found["reason"] == "stop"
        assert found["streamed"] == found["gathered"] == found["text"]
        assert valid(json.loads(found["text"]), schema), found


def test_tools_there_and_back(row):
    found = row("tools")
    assert (found["reason"], found["content"]) == ("tool_calls", None)
    call = found["call"]
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    told = json.loads(call["function"]["arguments"])
    assert found["streamed"] == {**call["function"], "parsed_arguments": told}
    assert told["place"] in ("Oslo", "Kyōto") and 1 <= told["days"] <= 14 and len(told) == 2
    assert found["last"]["role"] == "assistant" and "tool_calls" not in found["last"]
    assert found["prompt"] > len("<user>weather?<tool>sunny<assistant>")


def test_the_clients_loop_runs_the_function(row):
    found = row("run_tools")
    assert found["result"] == "sunny" and len(found["seen"]) == 1
    assert set(found["seen"][0]) == {"place", "days"}


def test_abort(row):
    found = row("abort")
    assert found == {"chunks": 3, "kind": "APIUserAbortError", "next": 1}


def test_errors_have_openais_classes(row):
    found = row("errors")
    kinds = {name: (error["kind"], error["status"], error["code"]) for name, error in found.items()}
    bad = ("BadRequestError", 400, "E_BAD_REQUEST")
    assert kinds == {
        "range": bad, "type": bad, "stream": bad, "options": bad, "format": bad, "schema": bad,
        "tool": bad, "choice": bad,
        "long": ("BadRequestError", 400, "E_CONTEXT_FULL"),
        "model": ("NotFoundError", 404, "E_UNKNOWN_MODEL"),
        "retrieve": ("NotFoundError", 404, "E_UNKNOWN_MODEL"),
        "route": ("NotFoundError", 404, "E_NO_ROUTE")}
    params = {name: error["param"] for name, error in found.items()}
    assert (params["range"], params["type"], params["stream"], params["model"]) == (
        "temperature", "messages", "top_p", "model")
    assert (params["options"], params["format"], params["schema"], params["tool"], params["choice"]) == (
        "stream_options", "response_format.json_schema", "response_format.json_schema.schema",
        "tools[0].function.name", "tool_choice")
    assert all(error["type"] == "invalid_request_error" for error in found.values())
