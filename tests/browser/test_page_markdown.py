"""Streaming markdown: streamed HTML = one-shot HTML, closed blocks stay, attacks stay text."""
import json
import random

pytest_plugins = ["tests.browser.page_kit"]

# Traps for a renderer that sees a text grow: what comes later changes what came before.
CORPUS = [
    ("Setext\n===\n\nand\nlazy\n---\n\npara\n- not a list yet\n- two\n\n  loose now\n\n1. a\n\n"
     "2. b\n\n3) c\n"),
    ("text\n```python\nx = 1\n\n\ny = '```'\n```\nafter\n\n~~~\nno language\n~~~\n\n"
     "    indented\n\n    code\n\nend"),
    ("a | b\n--|:-:\n1 | `x|y`\n**b** | [l](http://e.test)\n\n> quote\nlazy\n> - in\n"
     ">   - deep\n\n> next\n"),
    ("See [one] and [two][2] and ![pic](http://img.test/x.png).\n\nMore [one].\n\n"
     "[one]: http://a.test/1\n[2]: http://b.test/2 'T'\n\nLate [one].\n"),
    ("`a``b` **bold *both* bold** ~~gone~~ __u__ a*b*c snake_case_name 2*3*4 "
     "\\*no\\* &amp; &lt;b&gt; &copy;\n"
     "hard  \nbreak\\\nhere http://auto.test/a_b_(c) <http://x.test> me@x.test\n"),
    ("<div>\n\n*md*\n\n</div>\n\na <br> b <sub>2</sub> <script>alert(1)</script>\n\n<!-- c\n\n"
     "c -->\nafter\n"),
    ("- [ ] task\n- [x] done\n  ```js\n  const a = `t`;\n  ```\n\n  tail\n* other\n+ third\n\n\n"
     "\n# H #\n###### six\n***\n* * *\n"),
    "1. one\n   ```\n   unclosed\n   fence\n\n2. still code?\n",
    "مرحبا **بالعالم** 👩‍👩‍👧‍👦 é\r\n\r\n日本語の`コード`。\r\n- 一\r\n- 二\r\n",
    "```\nnever closed\n**not bold**\n",
    "[unclosed](http://x.test\n\n**unclosed\n\n`unclosed\n\n| half | table\n|---\n",
    ("Foo\n    not code\n\n    code\n\n  - a\n\n	b\n\n-\n\n- \n  x\n\n[f]:\n/url\n'title\ntwo'\n"
     "\n[f]\n"),
]

STREAM = """async ([text, sizes]) => {
  const { MarkdownStream, renderDocument } = await import("./js/ui/markdown_stream.js");
  const whole = document.createElement("div");
  for (const _ of renderDocument(text, whole));
  const root = document.createElement("div");
  const closed = [];
  const stream = new MarkdownStream(root, (node) => closed.push([node, node.outerHTML]));
  for (let at = 0, i = 0; at < text.length; i++) {
    at = Math.min(text.length, at + sizes[i % sizes.length]);
    stream.update(text.slice(0, at));
  }
  const before = closed.length;
  stream.finish();
  const changed = ([node, html]) => node.parentNode !== root || node.outerHTML !== html;
  const touched = closed.slice(0, before).filter(changed);
  return { streamed: root.innerHTML, whole: whole.innerHTML,
           touched: touched.length, repaired: stream.repaired, closed: before };
}"""


def stream(chat, text, sizes):
    return chat.page.evaluate(STREAM, [text, sizes])


def test_streamed_char_by_char_equals_one_shot(chat):
    chat.open(start=False)
    for text in CORPUS:
        got = stream(chat, text, [1])
        assert got["streamed"] == got["whole"], json.dumps(text)
        # Only a definition after its use, or of several lines, may change a closed block.
        assert got["touched"] == got["repaired"]
        assert got["repaired"] == 0 or "]:" in text, json.dumps(text)


def test_streamed_in_random_steps_equals_one_shot(chat):
    chat.open(start=False)
    rng = random.Random(7)
    parts = [part for text in CORPUS for part in text.split("\n\n") if part]
    checked = 0
    for _ in range(60):
        text = rng.choice(["\n\n", "\n"]).join(rng.choices(parts, k=rng.choice([1, 3, 7])))
        got = stream(chat, text, rng.choices([1, 2, 5, 13, 40], k=11))
        assert got["streamed"] == got["whole"], json.dumps(text)
        checked += got["closed"]
    assert checked > 60  # blocks do close before the end


def test_closed_blocks_are_never_touched_again(chat):
    """Ordinary answers need no repair at the end: a block is rendered once after it closes."""
    chat.open(start=False)
    part = "## Part {i}\n\nText **{i}** with `code`.\n\n```python\nx = {i}\n```\n\n- a\n- b"
    text = "\n\n".join(part.format(i=i) for i in range(12))
    got = stream(chat, text, [3])
    assert got["streamed"] == got["whole"] and got["repaired"] == 0 and got["touched"] == 0
    assert got["closed"] >= 12 * 4 - 1


ATTACKS = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned=1'>",
    "<svg onload=window.pwned=1><circle/></svg>",
    "[x](javascript:window.pwned=1)",
    "[x](JaVaScRiPt&#58;window.pwned=1)",
    "[x](data:text/html,<script>window.pwned=1</script>)",
    "![a](http://outside.test/leak.png)",
    "![a](x\" onerror=\"window.pwned=1)",
    "<iframe src='http://outside.test/'></iframe>",
    "<style>@import 'http://outside.test/a.css'</style>",
    "<a href='vbscript:x' onclick='window.pwned=1'>a</a>",
    "<form action='http://outside.test/'><input name=q>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
    "<base href='http://outside.test/'>",
    "```\"onmouseover=window.pwned=1\ncode\n```",
    "<details open ontoggle=window.pwned=1>x</details>",
    "<b onclick=window.pwned=1>b</b> <br onload=window.pwned=1>",
    "<p style='background:url(http://outside.test)'>",
    "[a]: javascript:window.pwned=1\n\n[a]",
    "<http://outside.test/?q=\"onclick=window.pwned=1>",
    "<div id=composer name=cookie>clobber</div>",
    "| <img src=x onerror=window.pwned=1> |\n|---|\n| <script>1</script> |",
]


def test_hostile_model_output_stays_text(chat):
    halves = ["\n\n".join(ATTACKS[:11]), "\n\n", "\n\n".join(ATTACKS[11:])]
    chat.open(pieces=[*halves, "\n\nfin"], perSecond=500)
    chat.ask("attack")
    answer = chat.get("message-assistant").last.locator(".md")
    assert answer.inner_text().endswith("fin")
    for selector in ("script", "img", "svg:not(.icon)", "iframe", "style", "form", "math", "base",
                     "[id]", "[name]", "[style]", "[onerror], [onload], [onclick], [ontoggle]"):
        assert answer.locator(selector).count() == 0, selector
    links = answer.locator("a[href]")
    for i in range(links.count()):
        assert links.nth(i).get_attribute("href").split(":")[0] in ("http", "https", "mailto")
        assert "noopener" in links.nth(i).get_attribute("rel")
        assert links.nth(i).get_attribute("target") == "_blank"
    assert "<script>window.pwned = 1</script>" in answer.inner_text()
    assert not chat.page.evaluate("'pwned' in window")
    assert not any("outside" in url for url in chat.requests)


def test_code_is_highlighted_once_closed_and_can_be_copied(chat):
    code = "def f(x: int):\n    return '<b>&amp;' + str(x)"
    chat.open(perSecond=30, pieces=[
        f"```python\n{code}\n", "```\n", "\nDone.", "\n\n```nonsense\n<x>\n```"])
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.ask("code")
    block = chat.page.locator(".code").first
    block.locator(".hljs-keyword").first.wait_for()
    assert block.locator("code").inner_text().rstrip("\n") == code
    block.get_by_role("button", name="Copy").click()
    block.get_by_text("Copied").wait_for()
    assert chat.page.evaluate("navigator.clipboard.readText()") == code
    assert chat.page.locator(".code").last.locator("code").inner_text().strip() == "<x>"


def test_colouring_leaves_the_text_as_it_was(chat):
    """The span builder reads the library's output: entities and nesting must come back exactly."""
    chat.open(start=False)
    samples = {"html": "<a href=\"x\">&amp; 'q'</a><!-- c -->",
               "javascript": "const s = `a${`b<${1}>`}`; // &lt;",
               "python": "f'{x!r:>{10}}' # <é> \"\"\"",
               "cpp": "#include <map>\nstd::map<int, char> m = {{1, '&'}};"}
    for language, code in samples.items():
        got = chat.page.evaluate("""async ([language, code]) => {
          const { highlightIn } = await import("./js/ui/highlight.js");
          const { IdleQueue } = await import("./js/ui/idle_queue.js");
          const node = document.createElement("div"), pre = document.createElement("pre");
          const el = document.createElement("code");
          el.className = "language-" + language;
          el.textContent = code;
          pre.append(el); node.append(pre);
          highlightIn(node, new IdleQueue());
          const rest = () => new Promise((resolve) => setTimeout(resolve, 20));
          for (let i = 0; i < 200 && !el.hasAttribute("data-lit"); i++) await rest();
          return [el.textContent, el.querySelectorAll("span").length];
        }""", [language, code])
        assert got[0] == code and got[1] > 0, language


HALF = {
    "a **bold": "a **bold**", "a **bold*": "a **bold**", "a **bold**": "a **bold**", "x **": "x ",
    "run `ls -l": "run `ls -l`", "see [docs](http://e.test/a": "see docs", "`**`": "`**`",
    "2 ** 3": "2 ** 3", "```\n**x": "```\n**x", "one **a\n\ntwo": "one **a\n\ntwo",
}


def test_half_typed_syntax_is_closed_for_display(chat):
    chat.open(start=False)
    got = chat.page.evaluate("""async (texts) => {
      const { closeHalfTyped } = await import("./js/ui/markdown.js");
      return texts.map(closeHalfTyped);
    }""", list(HALF))
    assert got == list(HALF.values())
