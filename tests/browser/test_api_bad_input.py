"""Wrong requests, through fetch and through jird.js: OpenAI's error object, the same both ways, and
a good request works afterwards."""
import json

import pytest

from tests.browser.api_kit import open_engine

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.api_kit"]
HELLO = [{"role": "user", "content": "hello"}]
RANGES = [("temperature", -1), ("temperature", 2.1), ("temperature", "1"), ("temperature", True),
          ("top_p", 0), ("top_p", 1.5), ("top_p", [1]), ("top_k", -1), ("top_k", 1.5),
          ("min_p", 2), ("min_p", "x"), ("repetition_penalty", 0), ("frequency_penalty", 3),
          ("presence_penalty", -3), ("presence_penalty", {}), ("seed", 1.5), ("seed", "7"),
          ("max_tokens", 0), ("max_tokens", -5), ("max_tokens", "8"), ("max_tokens", 2.5),
          ("n", 0), ("n", 17), ("n", "2"), ("n", True), ("stop", 5), ("stop", ""),
          ("stop", ["a", 1]), ("stop", ["x"] * 17), ("stop", {}), ("logit_bias", []),
          ("logit_bias", {"x": 1}), ("logit_bias", {"5": 101}), ("logit_bias", {"5": "1"}),
          ("stream", "true"), ("stream", 1), ("stream_options", {"include_usage": True}),
          ("model", 5), ("model", "gpt-5"), ("wibble", 1), ("return_token_ids", "yes")]
CHATS = [({}, "messages"), ({"messages": None}, "messages"), ({"messages": "hello"}, "messages"),
         ({"messages": []}, "messages"), ({"messages": [5]}, "messages[0]"),
         ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
         ({"messages": [{"role": "user"}]}, "messages[0].content"),
         ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages[0].content"),
         ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
          "messages[0].content[0]"),
         ({"messages": [*HELLO, {"role": "user", "content": "\ud800"}]}, "messages[1].content"),
         ({"messages": HELLO, "logprobs": 3}, "logprobs"),
         ({"messages": HELLO, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
         ({"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
         ({"messages": HELLO, "prompt": "x"}, "prompt"),
         ({"messages": HELLO, "tools": [1]}, "tools[0]"),
         ({"messages": [{"role": "user", "content": "x" * 600}]}, None)]
PROMPTS = [({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": 5}, "prompt"),
           ({"prompt": []}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": [256]}, "prompt"),
           ({"prompt": ["a", "b"]}, "prompt"), ({"prompt": "x", "echo": True}, "echo"),
           ({"prompt": "x", "best_of": 2}, "best_of"), ({"prompt": "x", "suffix": "y"}, "suffix"),
           ({"prompt": "x", "logprobs": 21}, "logprobs"),
           ({"prompt": "x", "messages": HELLO}, "messages")]
NO_OBJECTS = [None, 5, "text", [HELLO]]
CASES = (
    [("chat", {"messages": HELLO, name: value}, name) for name, value in RANGES]
    + [("chat", body, param) for body, param in CHATS]
    + [("completions", body, param) for body, param in PROMPTS]
    + [("chat", body, "body") for body in NO_OBJECTS])

BOTH = """async (text) => {
  const cases = JSON.parse(text), found = [];
  const tell = ({ status }, error) => ({ status, ...error });
  for (const [kind, body] of cases) {
    const path = kind === "chat" ? "chat/completions" : "completions";
    const answer = await fetch(`./v1/${path}`, { method: "POST", body: JSON.stringify(body) });
    const kept = answer.headers.get("cache-control");
    const fetched = tell(answer, (await answer.json()).error);
    const api = kind === "chat" ? engine.chat.completions : engine.completions;
    const thrown = await api.create(body).then(() => null, (error) => tell(error, error.error));
    found.push({ fetched, thrown, kept });
  }
  return found;
}"""
RAW = """async ([path, options]) => {
  const body = options.repeat ? "x".repeat(options.repeat) : options.body;
  const answer = await fetch(`./v1${path}`, { method: options.method, body });
  return { status: answer.status, type: answer.headers.get("content-type"),
    text: await answer.text() };
}"""
GOOD = """async () => {
  const body = JSON.stringify({ prompt: "x", max_tokens: 2 });
  const answer = await fetch("./v1/completions", { method: "POST", body });
  return [answer.status, (await answer.json()).usage.completion_tokens];
}"""


@pytest.fixture(scope="module")
def page(browser, api_root):
    from tests.browser.pwa_kit import AppSite
    context = browser.new_context(service_workers="allow")
    site = AppSite(api_root)
    yield open_engine(context, site).page
    context.close()
    site.close()


def test_the_table(page):
    found = page.evaluate(BOTH, json.dumps([case[:2] for case in CASES]))
    assert len(found) == len(CASES) > 60
    for (kind, body, param), row in zip(CASES, found):
        fetched = row["fetched"]
        assert fetched == row["thrown"], (kind, body)
        assert fetched["message"] and fetched["next_step"] and row["kept"] == "no-store"
        named = fetched["param"].split("[")[0] if param == "logit_bias" else fetched["param"]
        assert named == param, (kind, body, fetched)
        code, status = "E_BAD_REQUEST", 400
        if param == "model" and body["model"] == "gpt-5":
            code, status = "E_UNKNOWN_MODEL", 404
        elif param is None:
            code = "E_CONTEXT_FULL"
        assert (fetched["code"], fetched["status"]) == (code, status), (kind, body)
        assert fetched["type"] == "invalid_request_error"
    assert page.evaluate(GOOD) == [200, 2]


@pytest.mark.parametrize(("path", "options", "status", "code"), [
    ("/chat/completions", {"method": "POST", "body": "{"}, 400, "E_BAD_REQUEST"),
    ("/chat/completions", {"method": "POST", "body": ""}, 400, "E_BAD_REQUEST"),
    ("/chat/completions", {"method": "POST", "body": "\x00\x01"}, 400, "E_BAD_REQUEST"),
    ("/completions", {"method": "POST", "repeat": 8 * 2**20 + 1}, 413, "E_TOO_LARGE"),
    ("/chat/completions", {"method": "GET"}, 405, "E_NO_ROUTE"),
    ("/models", {"method": "DELETE"}, 405, "E_NO_ROUTE"),
    ("/", {"method": "GET"}, 404, "E_NO_ROUTE"),
    ("/embeddings", {"method": "POST", "body": "{}"}, 404, "E_NO_ROUTE"),
    ("/models/%E0%A4%A", {"method": "GET"}, 404, "E_UNKNOWN_MODEL"),
])
def test_what_is_no_request_at_all(page, path, options, status, code):
    found = page.evaluate(RAW, [path, options])
    assert found["status"] == status and found["type"] == "application/json"
    error = json.loads(found["text"])["error"]
    assert error["code"] == code and error["message"] and error["next_step"]
    assert page.evaluate(GOOD) == [200, 2]


def test_other_addresses_are_left_alone(page):
    for path in ("/models/../../version.json", "x"):
        found = page.evaluate(RAW, [path, {"method": "GET"}])
        assert found["status"] == (404 if path == "x" else 200)
        assert "E_NO_ROUTE" not in found["text"]
