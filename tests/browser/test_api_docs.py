"""The examples of docs/api.md, run in a page in their order as one module."""
import re

from app.build import settings
from tests.browser.pwa_kit import Tab

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.api_kit"]
OPTIONS = 'const model = "tiny";\n'
CLOSE = "\nawait engine.unload();\nwindow.done = true;\n"


def blocks():
    text = (settings.ROOT / "docs/api.md").read_text()
    return re.findall(r"^```js\n(.*?)^```", text, re.M | re.S)


def test_the_examples_run(tabs, api_site):
    code = blocks()
    assert len(code) >= 7
    text = "\n".join(code).replace('from "openai"', 'from "./openai.js"')
    text = text.replace("createEngine({ model,", 'createEngine({ model, device: "reference",')
    (api_site.root / "docs_examples.js").write_text(OPTIONS + text + CLOSE)
    tab = Tab(tabs)
    said = []
    tab.page.on("console", lambda message: said.append(message.text))
    tab.page.goto(api_site.url + "client.html")
    tab.page.evaluate("""() => void import("./docs_examples.js").catch((error) => {
      window.done = String(error.stack);
    })""")
    assert tab.until("window.done") is True
    assert tab.errors == [] and said.count("ready") == 1
    assert said[-1].startswith("400 E_BAD_REQUEST messages") and "send it again" in said[-1]
    assert any(re.fullmatch(r".* \d+", line, re.S) for line in said)
