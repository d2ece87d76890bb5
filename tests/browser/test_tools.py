"""Tools in the page: consent, refusal, failures, limits, and Python in a worker without network."""

import json
import os
import shutil
from pathlib import Path

import pytest

from app.build import settings
from tests.browser.page_kit import PREFIX, ChatPage
from tests.support import wait_without_workers

pytest_plugins = ["tests.browser.page_kit"]
FAKE = Path(__file__).with_name("fake_tools_jird.js").read_text()
ALL = ["calculator", "clock", "python", "search_chats"]
PYTHON = "(await import('./js/tools/run_python.js')).runPython"


@pytest.fixture(scope="module")
def tools_root(page_root, dist, tmp_path_factory):
    root = tmp_path_factory.mktemp("tools") / "page"
    shutil.copytree(page_root, root)
    (root / "jird.js").write_text(FAKE)
    shutil.copytree(dist / "pyodide", root / "pyodide", copy_function=os.link)
    shutil.copy(settings.SHELL / "python_worker.js", root)
    return root


@pytest.fixture
def chat(page, tools_root, serve):
    kit = ChatPage(page, serve(tools_root, PREFIX).url)
    yield kit
    kit.check()
    wait_without_workers(page)


def begin(chat, rounds, on=ALL, **options):
    script = f"globalThis.fakeTools = {json.dumps({'rounds': rounds, **options})};"
    chat.page.add_init_script(
        script + f"localStorage.setItem('jird.tools', {json.dumps(json.dumps(on))});")
    chat.page.goto(chat.url)
    chat.get("start").click()
    chat.wait_state("ready")


def call(name, **args):
    return {"name": name, "args": args}


def cards(chat):
    return [card.get_attribute("data-state") for card in chat.get("tool-card").all()]


def results(chat):
    """Contents of the role `tool` in the last request."""
    last = chat.page.evaluate("globalThis.requests.at(-1)")
    return [m["content"] for m in last["messages"] if m["role"] == "tool"]


def wait_cards(chat, *states):
    for i, state in enumerate(states):
        chat.page.locator(f"[data-testid=tool-card][data-state={state}]").nth(
            states[:i].count(state)).wait_for()
    assert cards(chat) == list(states)


def test_harmless_tools_run_and_the_answer_follows(chat):
    rounds = [[call("calculator", expression="2^10 * (3 - 1)"), call("clock")]]
    begin(chat, rounds, final="It is so.")
    chat.ask("What is it?")
    assert cards(chat) == ["done", "done"] and chat.answer() == "It is so."
    first, last = chat.page.evaluate("globalThis.requests")
    assert [t["function"]["name"] for t in first["tools"]] == ALL
    assert [m["role"] for m in last["messages"]] == ["user", "assistant", "tool", "tool"]
    assert last["messages"][1]["content"] == "Step 1." and results(chat)[0] == "2048"
    assert chat.page.locator(".tool[open]").count() == 0, "cards are closed"
    chat.page.locator(".tool summary").first.click()
    assert "2^10" in chat.get("tool-card").first.inner_text()
    chat.reload()  # cards are part of the chat
    chat.get("tool-card").nth(1).wait_for()
    assert cards(chat) == ["done", "done"] and chat.answer() == "It is so."


def test_without_tools_a_request_names_none(chat):
    begin(chat, [[call("clock")]], on=[])
    chat.ask("Hello")
    assert "tools" not in chat.page.evaluate("globalThis.requests.at(-1)")
    chat.get("tools").click()
    chat.get("tool-on-clock").check()
    chat.page.keyboard.press("Escape")
    chat.ask("Again")
    assert cards(chat) == ["done"] and len(results(chat)) == 1


def test_a_person_is_asked_and_may_refuse(chat):
    begin(chat, [[call("search_chats", words="secret")]])
    chat.ask("Look", wait=False)
    wait_cards(chat, "asking")
    assert "secret" in chat.page.locator(".tool[open]").inner_text(), "what it would do is shown"
    assert results(chat) == []
    chat.get("tool-refuse").click()
    chat.wait_end()
    assert cards(chat) == ["refused"] and results(chat) == ["Error: the person refused this call"]
    chat.ask("Again", wait=False)
    chat.page.locator("[data-state=asking]").wait_for()
    chat.get("tool-never").click()
    chat.wait_end()
    chat.ask("Once more")
    assert "search_chats" not in str(chat.page.evaluate("globalThis.requests.at(-1).tools"))
    chat.get("tools").click()
    chat.get("tool-forget-search_chats").click()
    assert chat.get("tool-forget-search_chats").count() == 0


def test_always_counts_for_this_chat_only(chat):
    begin(chat, [[call("search_chats", words="zebra")]] * 2)
    chat.ask("About a zebra", wait=False)
    wait_cards(chat, "asking")
    chat.get("tool-always").click()
    chat.wait_end()
    assert cards(chat) == ["done", "done"], "the second call does not ask"
    assert "No chat has" in results(chat)[0], "the open chat is not searched"
    chat.get("new-chat").first.click(force=True)
    chat.ask("Where was it?", wait=False)
    wait_cards(chat, "asking")
    chat.get("tool-once").click()
    wait_cards(chat, "done", "asking")
    assert "zebra" in chat.get("tool-card").first.inner_text()
    chat.page.keyboard.press("Escape")
    chat.wait_end()
    assert cards(chat) == ["done", "stopped"]


def test_bad_calls_are_told_to_the_model_and_the_person(chat):
    begin(chat, [[call("calculator", expression="2 +"), {"name": "calculator", "args": "{"},
                  call("invented"), call("calculator", expression="constructor(1)")]])
    chat.ask("Try")
    assert cards(chat) == ["error"] * 4 and chat.answer() == "The end."
    missing, no_json, invented, hostile = results(chat)
    assert "a number is missing" in missing and "no JSON" in no_json
    assert "no function invented" in invented and "not known" in hostile
    assert "a number is missing" in chat.page.locator(".tool-note").first.inner_text()


def test_the_loop_has_a_limit(chat):
    begin(chat, [[call("clock")]] * 50)
    chat.ask("Loop")
    assert cards(chat) == ["done"] * 8 and chat.answer() == "The end."
    assert chat.get("tool-limit").is_visible()
    sent = chat.page.evaluate("globalThis.requests.map((r) => r.tool_choice ?? null)")
    assert sent == [None] * 8 + ["none"]


def test_a_stopped_question_leaves_nothing_behind(chat):
    begin(chat, [[call("python", code="1")]])
    chat.ask("Go", wait=False)
    wait_cards(chat, "asking")
    chat.get("stop").click()
    chat.wait_end()
    assert cards(chat)[0] == "stopped" and chat.get("tool-once").count() == 0
    chat.ask("And now?", wait=False)
    chat.page.locator("[data-state=asking]").wait_for()
    assert "Error: it was not run" in results(chat)
    chat.get("stop").click()
    chat.wait_end()


def test_python_runs_in_a_worker_and_works_offline(chat):
    begin(chat, [[call("python", code="import math\nprint('hi')\nmath.factorial(20)")]])
    chat.ask("Run", wait=False)
    chat.get("tool-once").click()
    chat.page.locator("[data-state=done]").wait_for()
    chat.wait_end()
    assert results(chat) == ["hi\n2432902008176640000"]


CONFINED = """
import sys
tried = []
def attempt(name, run):
    try:
        value = run()
        tried.append(f"{name}: {value!r}"[:80])
    except BaseException as error:
        pass
attempt("js", lambda: __import__("js").fetch)
attempt("pyodide_js", lambda: __import__("pyodide_js").loadPackage)
def code():
    from pyodide.code import run_js
    return run_js("1 + 1")
attempt("run_js", code)
def to_function():
    from pyodide.ffi import to_js
    return to_js([1]).constructor.constructor("return 1")()
attempt("Function", to_function)
def by_globals():
    from pyodide.ffi import to_js
    f = to_js([1]).constructor.constructor
    return f("return import('./js/nowhere.js')")()
attempt("import", by_globals)
def urllib():
    import urllib.request
    return urllib.request.urlopen("http://127.0.0.1/").read()
attempt("urllib", urllib)
def xhr():
    from pyodide.http import open_url
    return open_url("index.html").read()
attempt("open_url", xhr)
"nothing" if not tried else tried
"""


def python(chat, code, **options):
    return chat.page.evaluate(
        f"""async ([code, options]) => {{
            const run = {PYTHON};
            return run(code, options).then((text) => ({{ text }}), (e) => ({{ error: e.message }}));
        }}""", [code, options])


def test_python_has_no_network_and_no_storage(chat):
    begin(chat, [])
    before = len(chat.requests)
    assert python(chat, CONFINED) == {"text": "nothing"}
    asked = {url.rsplit("/", 1)[1] for url in chat.requests[before:]}
    assert "python_worker.js" in asked and not asked & {"index.html", "nowhere.js", "127.0.0.1"}


def test_python_ends_at_its_limit_and_says_what_went_wrong(chat):
    begin(chat, [])
    hung = python(chat, "while True: pass", runMs=400)
    assert hung == {"error": "the program took longer than 0.4 s"}
    assert "ZeroDivisionError" in python(chat, "print('a')\n1/0")["error"]
    assert "SyntaxError" in python(chat, "def")["error"]
    long = python(chat, "print('x' * 10**6)")["text"]
    assert len(long) <= 20_000
    assert python(chat, "None") == {"text": "(it printed nothing)"}


CALCULATIONS = {
    "1 + 2 * 3": 7, "2^3^2": 512, "-2^2": -4, "(1+2)×4÷3": 4, "10 % 3": 1, "5!": 120,
    "0.1 + 0.2": 0.3, "sqrt(16) + max(1, 2, 3)": 7, "1.5e3": 1500, "round(2.5)": 3, "2 ** -1": 0.5,
}


def test_the_calculator(chat):
    begin(chat, [])
    told = chat.page.evaluate("""async (given) => {
        const { calculate } = await import('./js/tools/calculator.js');
        return given.map((text) => {
            try { return calculate(text); } catch (e) { return e.name; }
        });
    }""", [*CALCULATIONS, "", "1/0", "x", "(" * 5000, "alert(1)", "1 2", "__proto__", "1;2",
           "-" * 1999 + "1", "9" * 400, "2^" * 900 + "1"])
    assert told[: len(CALCULATIONS)] == list(CALCULATIONS.values())
    rest = told[len(CALCULATIONS) :]
    assert rest == ["RangeError"] * 8 + [-1] + ["RangeError"] * 2


def test_the_helper_for_embedders(chat):
    begin(chat, [])
    told = chat.page.evaluate("""async () => {
        const { runTools } = await import('./js/tools/run_tools.js');
        const said = [{ tool_calls: [{ id: "a", function: { name: "add", arguments: '{"a": 2}' } },
            { id: "b", function: { name: "hang", arguments: "" } },
            { id: "c", function: { name: "throws", arguments: "{}" } }] },
            { content: "four" }];
        let asked = 0;
        const create = async () => ({ choices: [{ message: { role: "assistant",
            ...said[Math.min(asked++, 1)] } }] });
        const tools = [{ name: "add", run: ({ a }) => ({ sum: a + 2 }) },
            { name: "hang", limitMs: 50, run: () => new Promise(() => {}) },
            { name: "throws", run() { throw new Error("no luck"); } }];
        const ask = (body, options) =>
            runTools({ create }, { messages: [], tools, ...body }, options);
        const { messages, steps } = await ask({});
        const refused = await ask({ stream: true }).catch((e) => e.code);
        asked = 0;
        const denied = await ask({}, { allow: () => false });
        const limit = await runTools({ create: async (body) => ({ choices: [{ message:
            body.tool_choice ? { content: "x" } : said[0] }] }) }, { messages: [], tools },
            { maxSteps: 2 });
        return { messages, steps, refused, denied: denied.messages[1].content, limit: limit.steps };
    }""")
    contents = [m["content"] for m in told["messages"]]
    assert contents == ["", '{"sum":4}', "Error: it took longer than 0.05 s and was ended",
                        "Error: no luck", "four"]
    assert told["steps"] == 1 and told["refused"] == "E_BAD_REQUEST" and told["limit"] == 2
    assert told["denied"] == "Error: the person refused this call"
