"""Adding models: by hub name or address, own files by picker and by drop, the token, and use."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.models_kit import FILE, NAME, REPO, SITE_MODEL, tiny_gguf
from tests.browser.page_kit import DROP
from tests.formats.safetensors_writer import safetensors
from tests.storage.hub_server import CHUNK, Fault, other_origin

pytest_plugins = ["tests.browser.page_kit", "tests.browser.models_kit"]

TENSORS = {"model.norm.weight": ("F32", (83,), bytes(4 * 83))}
FOLDER = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}",
          "model.safetensors": safetensors(TENSORS), "README.md": b"# not needed"}


def look_up(models, text):
    models.get("add-model").fill(text)
    models.get("look-up").click()
    return models.get("found")


def test_a_hub_name_shows_its_files_before_anything_is_fetched(models):
    models.publish({FILE: tiny_gguf(CHUNK), "tiny-q8_0.gguf": tiny_gguf(83), "README.md": b"#"})
    models.open_models()
    found = look_up(models, REPO)
    expect(found).to_contain_text("This repository has several models")
    expect(found.get_by_role("button")).to_have_text([f"{FILE}4.2 MB", "tiny-q8_0.gguf147 B"],
                                                     use_inner_text=False)
    found.get_by_role("button").first.click()
    expect(models.get("found-download")).to_have_text("Download 4.2 MB")
    expect(found).to_contain_text("Apache-2.0")
    expect(found).to_contain_text("1 file, 4.2 MB")
    assert not [asked for asked in models.hub.log if asked.path.endswith(".gguf")]
    models.get("found-download").click()
    models.state("complete", id=f"{REPO}:{FILE}")
    expect(models.row(f"{REPO}:{FILE}")).to_contain_text("4.2 MB · Apache-2.0 · from 127.0.0.1")
    look_up(models, f"{REPO}:{FILE}")
    expect(found).to_contain_text("It is on this device already.")


@pytest.mark.parametrize(("text", "code", "words"), [
    ("no name", "E_BAD_REQUEST", "wanted org/name"), ("org/none", "E_NETWORK", "Check the name")])
def test_what_cannot_be_found_says_why(models, text, code, words):
    models.open_models()
    found = look_up(models, text)
    expect(found).to_contain_text(code)
    expect(found).to_contain_text(words)
    models.errors.clear()  # the 404 itself, which the browser logs


@pytest.fixture
def elsewhere(models, page_root):
    with other_origin(models.hub, page_root) as url:
        yield url


def test_the_token_goes_to_the_hub_alone_and_is_forgotten(models, elsewhere):
    models.publish()
    private = {}

    def guard(asked):
        private[asked.path] = asked.headers.get("Authorization")
        allowed = not asked.path.startswith(("api/", "org/")) or private[asked.path]
        return None if allowed else Fault(status=401)

    models.hub.fault = guard
    models.open_models(elsewhere)
    found = look_up(models, REPO)
    expect(found).to_contain_text("needs permission")
    models.errors.clear()  # the 401, which the browser logs
    models.get("access").locator("summary").click()
    models.get("hub-token").fill("hf_secret")
    models.get("token-keep").click()
    expect(models.get("token-kept")).to_have_text("A token is kept in this browser.")
    expect(models.get("hub-token")).to_have_value("")
    look_up(models, REPO)
    models.get("found-download").click()
    models.state("complete", id=f"{REPO}:{FILE}")
    models.press("download")
    models.state("complete")
    assert private[models.site.model] is None, "the site itself gets no token"
    assert private[f"api/models/{REPO}/revision/main"] == "Bearer hf_secret"
    everything = models.page.content() + json.dumps(models.requests)
    assert "hf_secret" not in everything
    models.page.reload()
    models.get("access").locator("summary").click()
    expect(models.get("token-kept")).to_be_visible()
    models.get("token-forget").click()
    expect(models.get("token-kept")).to_be_hidden()
    assert "hf_secret" not in models.page.evaluate("JSON.stringify({ ...localStorage })")


def test_a_gguf_is_chosen(models, tmp_path):
    (tmp_path / "mine.gguf").write_bytes(tiny_gguf(2 * CHUNK + 7))
    models.open_models()
    models.get("pick-files").set_input_files(tmp_path / "mine.gguf")
    models.state("complete", id="local:mine")
    expect(models.row("local:mine")).to_contain_text("8.4 MB · your own file")
    models.press("remove", id="local:mine")
    expect(models.get("confirm")).to_contain_text("which stays where it is")


def test_another_file_of_the_same_name_is_another_model(models):
    models.open_models()
    for size in (83, 769, 83):  # the third is the first once more
        models.get("pick-files").set_input_files(
            {"name": "model.gguf", "mimeType": "", "buffer": tiny_gguf(size)})
        models.state("complete", id="local:model" if size == 83 else "local:model (2)")
    expect(models.get("stored").locator("li")).to_have_count(2)
    expect(models.row("local:model")).to_contain_text("147 B")
    expect(models.row("local:model (2)")).to_contain_text("833 B")


@pytest.mark.long
def test_a_folder_is_chosen(models, tmp_path):
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    for name, body in FOLDER.items():
        (folder / name).write_bytes(body)
    models.open_models()
    models.get("pick-folder").set_input_files(folder)
    models.state("complete", id="local:tiny-llama")
    models.press("verify", id="local:tiny-llama")
    expect(models.row("local:tiny-llama")).to_contain_text("in 3 files: every byte is as it was")


def test_files_are_dropped_anywhere(models):
    """From the chat, too: the Models page opens with what comes."""
    models.open_models()
    models.get("models-back").click()
    expect(models.get("composer")).to_be_visible()
    models.page.evaluate(DROP, [[["dropped.gguf", list(tiny_gguf())]]])
    models.state("complete", id="local:dropped")
    expect(models.page.locator(".drop")).to_be_hidden()
    models.page.evaluate(DROP, [[[name, list(body)] for name, body in FOLDER.items()]])
    models.state("complete", id="local:model")


BAD = [
    ({"photo.jpg": b"\xff\xd8"}, "E_BAD_FILE", "a .gguf file, or the files of a folder"),
    ({"page.gguf": b"<!doctype html><title>404</title>"}, "E_BAD_FILE", "does not begin with GGUF"),
    ({"cut.gguf": b"GGUF\3\0\0\0"}, "E_TRUNCATED", "cut.gguf ends too early"),
    ({"half.gguf": tiny_gguf(769)[:-7]}, "E_TRUNCATED", "half.gguf ends too early"),
    ({"damaged.gguf": tiny_gguf().replace(b"w\1", b"w\x83")}, "E_BAD_FILE", "131 dimensions"),
    ({"old.gguf": b"GGUF\1\0\0\0" + bytes(16)}, "E_BAD_FILE", "version 1"),
    ({"a.gguf": tiny_gguf(), "b.gguf": tiny_gguf()}, "E_BAD_REQUEST", "one .gguf at a time"),
    ({"config.json": b"{}"}, "E_BAD_FILE", "model.safetensors is not a valid safetensors file"),
    (FOLDER | {"config.json": b"{"}, "E_BAD_FILE", "cannot be parsed"),
    (FOLDER | {"model.safetensors": FOLDER["model.safetensors"][:-7]}, "E_BAD_FILE",
     "bytes long and is"),
    (FOLDER | {"model.safetensors": safetensors(TENSORS, **{"model.norm.weight": {"shape": [7]}})},
     "E_BAD_FILE", "lies at 0 to 332"),
    (FOLDER | {"model.safetensors.index.json": b'{"weight_map": {"absent": "model.safetensors"}}'},
     "E_BAD_FILE", "lacks absent"),
    (FOLDER | {"model.safetensors": b"\xff" * 83}, "E_BAD_FILE", "its header would be"),
    (FOLDER | {"model.safetensors": b"\1"}, "E_BAD_FILE", "shorter than its header"),
    (FOLDER | {"config.json": b"[7]"}, "E_BAD_FILE", "config.json is not a valid JSON file"),
    (FOLDER | {"tokenizer.json": b""}, "E_BAD_FILE", "tokenizer.json is not a valid JSON file"),
    (FOLDER | {"model.safetensors": b"\4" + bytes(7) + b"null"}, "E_BAD_FILE", "not an object"),
    (FOLDER | {"model.safetensors": b"\x1a" + bytes(7) + b'{"w": {"data_offsets": 7}}'},
     "E_BAD_FILE", "w lies at"),
    (FOLDER | {"model.safetensors.index.json": b'{"weight_map": {"w": "2-of-2.safetensors"}}'},
     "E_BAD_FILE", "2-of-2.safetensors is not a"),
    ({"empty.gguf": b""}, "E_BAD_FILE", "does not begin with GGUF"),
]


def test_bad_files_are_refused_with_a_reason(models):
    models.open_models()
    found = models.get("found")
    for files, code, words in BAD:
        models.page.evaluate(DROP, [[[name, list(body)] for name, body in files.items()]])
        expect(found).to_contain_text(words)
        expect(found).to_contain_text(code)
        assert len(found.locator(".problem-text p").nth(1).inner_text()) > 10, "the next step"
    assert models.get("stored").locator("li").count() == 0


def test_use_loads_it_into_the_chat_and_a_reload_keeps_it(models):
    models.open_models()
    models.page.evaluate(DROP, [[["mine.gguf", list(tiny_gguf())]]])
    models.state("complete", id="local:mine")
    models.page.evaluate("globalThis.fakeJird = { pieces: ['Squeak.'] }")
    models.press("use", id="local:mine")
    models.wait_state("ready")
    expect(models.page.locator("#models")).to_be_hidden()
    models.ask("Hello?")
    assert models.answer() == "Squeak."
    assert models.page.evaluate("requests[0].model") == "local:mine"
    assert models.page.evaluate("'temperature' in requests[0]") is False, "the model's own defaults"
    models.page.goto(models.url)
    models.wait_state("ready")
    models.get("side-models").click()
    expect(models.row("local:mine")).to_contain_text("In use")
    models.press("remove", id="local:mine")
    models.confirm()
    models.get("models-back").click()
    expect(models.page.locator("#model-name")).to_have_text(NAME)
    models.page.reload()
    models.wait_state("idle")
    assert models.page.evaluate("localStorage.getItem('jird.model')") is None


def fit(verdict, total, largest=8192, reason=""):
    return {"verdict": verdict, "bytes": {"total": total}, "context": 8192,
            "largest_context": largest, "reason": reason}


def test_offers_say_whether_they_fit_before_any_download(models):
    models.publish()
    source = {"kind": "hub", "model": f"{REPO}:{FILE}", "repo": REPO, "file": FILE}
    common = {"license": "Apache-2.0", "quant": "4-bit", "context": 8192, "modalities": ["text"]}
    rows = [
        {**common, "id": SITE_MODEL, "name": NAME, "bytes": 98e6,
         "source": {"kind": "same-origin", "model": SITE_MODEL}, "fit": fit("fits", 210e6)},
        {**common, "id": "tiny", "name": "Tiny", "bytes": CHUNK, "source": source,
         "fit": fit("no", 2.5e9, 1024, "It needs 2500 MB of memory.")},
    ]
    models.open_models(catalog={"rows": rows, "budget": 1.4e9})
    expect(models.row().get_by_test_id("fit")).to_have_text(
        "Fits: needs 210 MB of the ~1.4 GB memory budget, with 8,192 tokens of context.")
    expect(models.get("budget")).to_contain_text("about 1.4 GB of memory")
    tiny = models.row(f"{REPO}:{FILE}")
    expect(tiny.get_by_test_id("fit")).to_have_text(re.compile(
        "^Will not fit: needs 2.5 GB of .*; up to 1,024 tokens of context would fit.$"))
    expect(tiny).to_contain_text("4.2 MB · Apache-2.0 · 4-bit · 8,192 tokens of context")
    assert models.hub.log == []
    models.press("download", id=f"{REPO}:{FILE}")
    models.state("complete", id=f"{REPO}:{FILE}")
    expect(models.get("stored")).to_contain_text("Tiny")
    expect(models.get("offered").locator("li")).to_have_count(1)
