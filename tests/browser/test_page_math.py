"""Formulas in answers: MathML of known parts only, streamed as in one go, money left alone."""
import json
import random

import pytest

from tests.browser.test_page_markdown import stream

pytest_plugins = ["tests.browser.page_kit"]

CORPUS = [
    "Before $a_1 + b_1$ and \\(c_2 * d_2\\) *soft $x*y$ end*.\n\n$$\n\\frac{1}{2}\n$$\n\nafter\n",
    "Text:\n$$\na\n=\nb\n- c\n$$\nmore\n\\[\nx\n+ y\n\\]\n\nend $z$",
    "- item $i$\n  $$\n  k_1\n  $$\n- two \\[d\\] here\n\n> $$q$$\n> tail\n\n1. $$\\sum_i i$$\n",
    "$$ never closed\n\nnext *para*\n\n$$\nlast one\nopen *still*",
    "It costs $5 and $10, $5-$10, a $ b $ c, 3$ or \\$4 and \\$5.\n\n`$x$` and $y`$`\n",
    "| $a$ | $b|c$ |\n|---|---|\n| \\(x\\) | $$y$$ |\n\n$$x$$ is inline\n\n$$x$$\n",
    "Déjà $\\text{für}$ 👩‍👩‍👧 $$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$\r\n\r\n$e$",
]

TYPESET = """async (texts) => {
  const { renderDocument } = await import("./js/ui/markdown_stream.js");
  const { typesetIn } = await import("./js/ui/math.js");
  const out = [];
  for (const text of texts) {
    const node = document.createElement("div");
    for (const _ of renderDocument(text, node));
    await new Promise((resolve) => {
      typesetIn(node, resolve);
      if (!node.querySelector(".math:not([data-set])")) resolve();
    });
    out.push(node.innerHTML);
  }
  return out;
}"""


def typeset(chat, *texts):
    return chat.page.evaluate(TYPESET, list(texts))


@pytest.mark.parametrize("loaded", [False, True])
def test_streamed_formulas_equal_those_in_one_go(chat, loaded):
    chat.open(start=False)
    if loaded:
        assert "<math" in typeset(chat, "$x$")[0]
    else:  # the library never comes: all stays source
        chat.page.route("**/vendor/temml.js", lambda route: route.abort())
    plain = [text for text in CORPUS if "costs" in text or "never" in text]
    rng = random.Random(3)
    for text in CORPUS:
        for sizes in ([1], rng.choices([2, 5, 13], k=7)):
            got = stream(chat, text, sizes)
            assert got["streamed"] == got["whole"], json.dumps(text)
            assert got["touched"] == got["repaired"] == 0, json.dumps(text)
        assert ("<math" in got["whole"]) == (loaded and text not in plain), json.dumps(text)
    if not loaded:
        chat.errors.clear()  # the browser logs the request that was refused


def test_what_is_a_formula_and_what_is_money(chat):
    chat.open(start=False)
    inline, display, money, code, bare, link = typeset(
        chat, "so $a_1$ and \\(b_2\\)", "$$\n\\frac{a}{b}\n$$\n\n\\[c\\]",
        "It costs $5 and $10 or $5-$10.", "`$x$`\n\n```\n$$y$$\n```", "\\$a\\$ and $ b $",
        "[$x$](http://e.test)")
    assert inline.count("<math") == 2 and "<em>" not in inline and "msub" in inline
    assert display.count('display="block"') == 2 and "<mfrac>" in display
    assert "<math" not in money + code + bare
    assert "It costs $5 and $10 or $5-$10." in money
    assert "<math" in link


def test_what_is_no_tex_stays_source(chat):
    chat.open(start=False)
    texts = ["$\\frac{1}{$", "$\\nosuchthing x$", "$$" + "x" * 4001 + "$$",
             "$" + "\\frac1{" * 70 + "x" + "}" * 70 + "$", "$\\def\\a{\\a\\a}\\a$"]
    for text, html in zip(texts, typeset(chat, *texts)):
        assert "<math" not in html and "tex" in html, text
        assert text.strip("$")[:20] in html.replace("&amp;", "&")


HOSTILE = [
    r"$\href{javascript:window.pwned=1}{x}$", r"$\includegraphics{http://outside.test/x.png}$",
    r"$\style{background:url(http://outside.test)}{x}$", r"$\class{composer}{x}$",
    r"$\id{prompt}{x}$", r"$\data{action=stop}{x}$", r"$\rule{99999em}{99999em}$",
    r"$\text{<img src=x onerror=window.pwned=1>}$", r"$\color{url(http://outside.test)}{x}$",
    r"$\hspace{9999em} x$", r"$\unicode{x3c}script>$", r"$<script>window.pwned=1</script>$",
    r"$\htmlClass{a}{b}$ $\url{http://outside.test}$",
]


def test_a_hostile_formula_is_only_signs(chat):
    chat.open(pieces=[f"{text}\n\n" for text in [*HOSTILE, "$fin$"]], perSecond=500)
    chat.ask("attack")
    answer = chat.get("message-assistant").last.locator(".md")
    answer.locator("math").last.wait_for()
    for selector in ("script", "img", "a[href]", "[id]", "[onerror]", "[data-action]", "iframe",
                     "[href]", ".composer"):
        assert answer.locator(selector).count() == 0, selector
    assert not chat.page.evaluate("'pwned' in window")
    assert not any("outside" in url for url in chat.requests)
    wide = chat.page.evaluate("""() => [...document.querySelectorAll('.md math')].some(
      (node) => node.getBoundingClientRect().width > 2000)""")
    assert not wide
    assert chat.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_library_comes_with_the_first_formula_and_the_end_stays_in_view(chat):
    lines = "\n\n".join(f"Line {i}" for i in range(40))
    chat.open(text=lines, perSecond=2000)
    chat.ask("plain")
    assert not any("temml" in url for url in chat.requests)
    tall = "\n\n".join("$$\\begin{pmatrix}1\\\\2\\\\3\\\\4\\\\5\\end{pmatrix}$$" for _ in range(6))
    chat.page.evaluate("(text) => { globalThis.fakeJird.pieces = [text] }", f"{lines}\n\n{tall}")
    chat.ask("maths")
    chat.get("message-assistant").last.locator("math").nth(5).wait_for()
    assert sum("temml" in url for url in chat.requests) == 1
    chat.until("""(() => { const s = document.getElementById('scroller');
      return s.scrollHeight - s.scrollTop - s.clientHeight < 48 })()""")


def test_a_formula_is_read_out_in_a_word(chat):
    chat.open(start=False)
    said = chat.page.evaluate("""async () => {
      const { speakable } = await import("./js/ui/announcer.js");
      return speakable("So:\\n\\n$$\\n\\\\frac{1}{2}\\n$$\\n\\nThen \\\\(x\\\\) ends. \\\\[y\\\\]");
    }""")
    assert said == "So: Formula. Then x ends. Formula."
