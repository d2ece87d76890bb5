"""The site in a browser, under a sub-path: Pyodide boots from it and nothing else is asked for."""
import json

import pytest

BOOT = """async () => {
  const { loadPyodide } = await import(new URL("pyodide/pyodide.mjs", location.href));
  const py = await loadPyodide({ indexURL: new URL("pyodide/", location.href).href });
  await py.loadPackage("jird");
  const before = py.runPython("import sys, pyengine.errors, app; 'numpy' in sys.modules");
  await py.loadPackage("jinja2");
  const text = py.runPython(`
import importlib.resources, json, jinja2
rendered = json.loads((importlib.resources.files("pyengine.kernels") / "rendered.json").read_text())
jinja2.Template("{{ x }}").render(x="<") + str(len(rendered) > 0)`);
  await py.loadPackage("numpy");
  const sum = py.runPython("import numpy as np; int(np.arange(83).sum())");
  return { before, text, sum };
}"""

VENDOR = """async () => {
  const at = name => import(new URL("vendor/" + name, location.href));
  const [tokenizers, marked, purify, hljs, xgrammar] = await Promise.all(
    ["tokenizers.js", "marked.js", "dompurify.js", "highlight.js", "xgrammar.js"].map(at));
  const html = marked.marked.parse("**a** <img src=x onerror=alert(1)>");
  return {
    clean: purify.default.sanitize(html),
    code: hljs.default.highlight("def f(): pass", { language: "python" }).value,
    tokenizer: typeof tokenizers.Tokenizer,
    grammar: String(await xgrammar.Grammar.fromEBNF('root ::= "a"')),
  };
}"""


@pytest.fixture
def blank(dist, serve, page):
    """An empty page below a sub-path of the site's origin."""
    served = serve(dist, prefix="/some/where/")
    page.route("**/blank.html", lambda route: route.fulfill(
        content_type="text/html", body="<!doctype html><link rel=icon href=data:,>"))
    page.goto(served.url + "blank.html")
    return served, page


def test_pyodide_boots_with_our_wheels_and_numpy_only_when_asked(blank, outside):
    served, page = blank
    result = page.evaluate(BOOT)
    assert result == {"before": False, "text": "<True", "sum": 83 * 82 // 2}
    asked = [r.path for r in served.log]
    assert all(path.startswith("/some/where/") for path in asked)
    assert [r.path for r in served.log if r.status >= 400] == []
    assert outside == []


def test_vendor_modules_work(blank, outside):
    served, page = blank
    result = page.evaluate(VENDOR)
    assert 'root ::= (("a"))' in result["grammar"]
    assert len(served.log) == 5, "a vendor module is not one file"
    assert result["clean"].strip() == '<p><strong>a</strong> <img src="x"></p>'
    assert "hljs-keyword" in result["code"] and result["tokenizer"] == "function"
    assert outside == []


def test_the_page_loads_under_a_sub_path(dist, serve, page, outside):
    if not (dist / "index.html").exists():
        pytest.skip("the site has no index.html")
    served = serve(dist, prefix="/some/where/")
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served.url, wait_until="load")
    assert page.title()
    missing = [r.path for r in served.log if r.status >= 400 and not r.path.endswith("favicon.ico")]
    assert (errors, missing, outside) == ([], [], [])
    assert all(r.path.startswith("/some/where") for r in served.log
               if not r.path.endswith("favicon.ico")), json.dumps([r.path for r in served.log])


def test_the_outside_log_sees_what_a_page_asks_of_other_hosts(blank, outside):
    _, page = blank
    page.evaluate("fetch('http://outside.invalid/x').catch(() => 0)")
    assert any("outside.invalid" in line for line in outside)
