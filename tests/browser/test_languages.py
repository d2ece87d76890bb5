"""The page's texts: every language has every key, none is unused; the page is in one language."""
import json
import re
import subprocess

import pytest
from playwright.sync_api import expect

from app import steady
from app.build import settings
from pyengine.errors import MESSAGES
from tests.browser.page_kit import ChatPage

pytest_plugins = ["tests.browser.page_kit"]

UI = settings.SHELL / "js" / "ui"
LANG = UI / "lang"
PAGES = ("index.html", "playground.html", "check.html")
NOT_PARTS = {"index.js", "errors.js"}
READ = """const read = async (path) => (await import(path)).default;
const [dir, ...names] = process.argv.slice(1);
const parts = {};
for (const name of names) parts[name] = await read(`${dir}/${name}`);
console.log(JSON.stringify(parts));"""


def codes():
    return sorted(path.name for path in LANG.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def tables():
    """language -> part -> key -> text"""
    out = {}
    for code in codes():
        names = sorted({path.name for path in (LANG / code).glob("*.js")} - NOT_PARTS)
        ran = subprocess.run(["node", "--input-type=module", "-e", READ, str(LANG / code), *names],
                             capture_output=True, text=True, check=True)
        out[code] = json.loads(ran.stdout)
    return out


@pytest.mark.parametrize("code", codes())
def test_every_error_is_told_in_the_language(code):
    folder = LANG / code
    ran = subprocess.run(["node", "--input-type=module", "-e", READ, str(folder), "errors.js"],
                         capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout)["errors.js"]
    # an English error brings its own text, which suits people too but for numbers of bytes
    assert told.keys() == ({"E_OUT_OF_MEMORY", "E_QUOTA"} if code == "en" else MESSAGES.keys())
    for name, texts in told.items():
        facts = [set(re.findall(r"\{(\w+)\}", text)) for text in texts]
        assert facts == [set(re.findall(r"\{(\w+)\}", text)) for text in MESSAGES[name]], name
    assert "errors" in (folder / "index.js").read_text()


def flat(parts):
    return {key: text for part in parts.values() for key, text in part.items()}


def forms(text):
    return text if isinstance(text, dict) else {"other": text}


def test_every_language_has_every_text_with_the_same_facts(tables):
    assert len(tables) >= 3
    english = tables["en"]
    for code, parts in tables.items():
        assert parts.keys() == english.keys(), code
        for name, part in parts.items():
            assert list(part) == list(english[name]), f"{code}/{name}: the same keys in one order"
        for key, text in flat(parts).items():
            wanted = set(re.findall(r"\{(\w+)\}", forms(flat(english)[key])["other"]))
            for form in forms(text).values():
                assert form.strip(), f"{code} {key} is empty"
                assert set(re.findall(r"\{(\w+)\}", form)) == wanted, f"{code} {key}"
            assert isinstance(text, dict) == isinstance(flat(english)[key], dict), f"{code} {key}"


def test_what_the_engine_tells_is_in_the_table_too(tables):
    said = {kind: flat(tables["en"])[f"deviceNotice_{kind}"] for kind in steady.NOTICES}
    assert said == steady.NOTICES


def test_no_key_is_in_two_parts_and_the_index_names_every_part(tables):
    for code, parts in tables.items():
        assert len(flat(parts)) == sum(map(len, parts.values())), code
        index = (LANG / code / "index.js").read_text()
        read = re.findall(r'^import \w+ from "\./(\w+\.js)"', index, re.MULTILINE)
        assert set(read) == set(parts), code
        assert set(re.findall(r"\.\.\.(\w+)", index)) == {name[:-3] for name in parts}, code


def test_a_translation_is_one(tables):
    """What is the same in two languages is short: a name, a unit, a word that both have."""
    english = flat(tables["en"])
    for code in set(tables) - {"en"}:
        same = [key for key, text in flat(tables[code]).items()
                if text == english[key] and len(str(text).split()) > 3 and "{" not in str(text)]
        assert same == [], code


def sources():
    paths = [path for path in UI.rglob("*.js") if LANG not in path.parents]
    return {path: path.read_text() for path in paths}


def test_every_key_is_used_and_every_used_key_is_there(tables):
    keys = set(flat(tables["en"]))
    html = "".join((settings.SHELL / name).read_text() for name in PAGES)
    named = set(re.findall(r'data-t(?:-[a-z-]+)?="([^"]+)"', html))
    text = "".join(sources().values())
    called = set(re.findall(r'\bt\("([^"]+)"', text))
    assert (named | called) - keys == set()
    quoted = set(re.findall(r'"([\w-]+)"', text)) | named
    made = set(re.findall(r"`(\w+_|state)\$\{", text))  # keys that are made of data
    unused = [key for key in keys - quoted if not any(key.startswith(start) for start in made)]
    assert sorted(unused) == []


def test_texts_are_asked_for_only_after_the_language_is_read():
    """At a module's top level `t` would answer in English, whatever the language."""
    for path, text in sources().items():
        top = [line for line in text.splitlines() if re.match(r"(export )?const .*\bt\(", line)]
        assert [line for line in top if "=>" not in line] == [], path


def test_the_html_says_what_the_english_table_says(tables):
    english = flat(tables["en"])
    for name in PAGES:
        html = (settings.SHELL / name).read_text()
        for tag, rest in re.findall(r"<(?:\w+)((?:\s[^<>]*)?\sdata-t[^<>]*)>([^<]*)", html):
            for key in re.findall(r'\sdata-t="([^"]+)"', tag):
                assert rest == english[key], key
            for attribute, key in re.findall(r'\sdata-t-([a-z-]+)="([^"]+)"', tag):
                assert re.search(rf'\s{attribute}="{re.escape(english[key])}"', tag), key


def test_the_list_of_languages_is_one(tables):
    boot = (UI / "before_paint.js").read_text()
    listed = re.search(r"LANGUAGES = \[([^\]]*)\]", boot)[1]
    assert sorted(re.findall(r'"(\w+)"', listed)) == sorted(tables)
    rows = re.findall(r"^  (\w+): \{ name: ", (LANG / "languages.js").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(tables)


@pytest.fixture
def open_in(browser, page_root, serve):
    """The page in a browser of this locale."""
    served = serve(page_root, "/some/where/")
    kits = []

    def opened(locale, **options):
        context = browser.new_context(locale=locale, service_workers="block")
        kits.append(ChatPage(context.new_page(), served.url))
        kits[-1].open(**options)
        kits[-1].page.locator("html:not([data-translating])").wait_for(state="attached")
        return kits[-1]
    yield opened
    for kit in kits:
        kit.page.context.close()
        kit.check()


@pytest.mark.parametrize("locale, lang, start, tokens", [
    ("de-AT", "de", "Starten", "3 Token"),
    ("fr-CA", "fr", "Démarrer", "3 tokens"),
    ("ja-JP", "en", "Start", "3 tokens"),
])
def test_the_page_speaks_the_browsers_language(open_in, locale, lang, start, tokens):
    chat = open_in(locale, start=False)
    html = chat.page.locator("html")
    expect(html).to_have_attribute("lang", lang)
    expect(html).to_have_attribute("dir", "ltr")
    expect(chat.get("start")).to_have_text(start)
    assert not html.get_attribute("data-translating")
    chat.get("start").click()
    chat.wait_state("ready")
    chat.ask()
    expect(chat.get("stats")).to_contain_text(tokens.replace(" ", "\u00a0"))


def test_nothing_on_the_page_stays_english(open_in, tables):
    chat = open_in("de-DE")
    chat.ask()
    english, german = flat(tables["en"]), flat(tables["de"])
    differ = {text for key, text in english.items()
              if isinstance(text, str) and text != german[key] and "{" not in text}
    shown = chat.page.evaluate("""() => {
      const all = [...document.querySelectorAll('body *:not(script, svg *)')];
      const names = ['aria-label', 'title', 'placeholder'];
      const texts = all.filter((node) => !node.closest('noscript')).flatMap((node) =>
        [...[...node.childNodes].filter((child) => child.nodeType === 3).map(({data}) => data),
          ...names.map((name) => node.getAttribute(name) ?? '')]);
      return texts.map((text) => text.trim()).filter(Boolean)}""")
    assert [text for text in shown if text in differ and text not in set(german.values())] == []
    assert german["newChat"] in shown and german["placeholder"] in shown


def test_a_chosen_language_goes_before_the_browsers(open_in):
    chat = open_in("de-DE")
    chat.get("composer").fill("noch ein Entwurf")
    chat.page.keyboard.press("Control+,")
    choice = chat.get("setting-language")
    expect(choice).to_have_value("auto")
    with chat.page.expect_navigation():
        choice.select_option(label="English")
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")
    expect(chat.get("composer")).to_have_value("noch ein Entwurf")
    chat.page.keyboard.press("Control+,")
    with chat.page.expect_navigation():
        chat.get("reset-language").click()
    expect(chat.page.locator("html")).to_have_attribute("lang", "de")


def test_an_answer_under_way_is_not_lost_to_another_language(open_in):
    chat = open_in("en-US", pieces=[f"word{i} " for i in range(4000)], perSecond=40)
    chat.ask(wait=False)
    chat.page.keyboard.press("Control+,")
    chat.get("scope-all").click()
    chat.get("setting-language").select_option("fr")
    expect(chat.page.locator(".toast")).to_contain_text("loaded again")
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")
    chat.page.get_by_role("button", name="Close").click()
    chat.get("stop").click()


def test_a_language_that_cannot_be_read_leaves_english(open_in, browser):
    chat = open_in("en-US", start=False)
    chat.page.add_init_script("localStorage.setItem('jird.language', 'fr')")
    chat.page.route("**/lang/fr/index.js", lambda route: route.abort())
    chat.reload()
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")
    expect(chat.get("start")).to_be_visible()
    chat.errors.clear()  # the browser logs the request that failed


def test_an_error_is_told_in_the_pages_language(open_in):
    chat = open_in("de-DE", start=False, failLoad=True)
    chat.get("start").click()
    error = chat.get("error").first
    expect(error).to_contain_text("E_CORRUPT_SHARD")
    expect(error).to_contain_text("Lösche diese Datei und lade sie noch einmal herunter.")
    # A fact that the error lacks leaves its own sentence.
    expect(error).to_contain_text("model.gguf is damaged: block 3 of 24.")


def test_numbers_are_written_as_the_language_does(open_in):
    ask = """async () => { const f = await import('./js/ui/format.js');
      return [f.formatBytes(1.44e9), f.formatSeconds(0.42), f.formatSeconds(119.7)] }"""
    said = {code: open_in(code, start=False).page.evaluate(ask) for code in ("en", "de", "fr")}
    assert said == {
        "en": ["1.4 GB", "0.42 s", "2 min 0 s"],
        "de": ["1,4 GB", "0,42 s", "2 min 0 s"],
        "fr": ["1,4 Go", "0,42 s", "2 min 0 s"],
    }
