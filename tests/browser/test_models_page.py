"""The Models page: the life of a stored model, in real Chromium against a local server."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.models_kit import NAME, SIZE
from tests.storage.hub_server import CHUNK

pytest_plugins = ["tests.browser.page_kit", "tests.browser.models_kit"]

DAMAGE = """async (at) => {
  const root = await navigator.storage.getDirectory();
  const models = await root.getDirectoryHandle("models");
  const model = await models.getDirectoryHandle("smollm2-135m-instruct");
  const handle = await (await model.getDirectoryHandle("files")).getFileHandle("model.gguf");
  const old = new Uint8Array(await (await handle.getFile()).slice(at, at + 1).arrayBuffer());
  const stream = await handle.createWritable({ keepExistingData: true });
  await stream.write({ type: "write", position: at, data: new Uint8Array([old[0] ^ 1]) });
  await stream.close();
}"""


def downloaded(models):
    models.open_models()
    models.press("download")
    models.state("complete")
    return models


def test_download_pause_reload_resume_check_repair_delete(models):
    """The whole life of a model; no byte that was verified is fetched twice."""
    models.hub.rate = 6 << 20
    models.hub.hold(4)
    models.open_models()
    expect(models.get("offered")).to_contain_text(NAME)
    expect(models.get("stored").locator("li")).to_have_count(0)
    models.press("download")
    models.state("download")
    progress = models.row().get_by_test_id("model-progress")
    expect(progress).to_have_text(re.compile(r"^[\d.]+ M?B of 25 MB · [\d.]+ MB/s · \d+ s left$"))
    models.until("document.querySelector('.model progress').value > 0.1")
    models.press("pause")
    models.state("paused")
    models.page.reload()
    models.state("paused")
    expect(models.row()).to_contain_text(re.compile(r"Paused at \d\d%"))
    models.hub.rate = None
    models.hub.release()
    models.press("resume")
    models.state("complete")
    ranges = models.hub.chunks(models.site.model)
    sent = sum(asked.sent for asked in models.hub.log if asked.path == models.site.model)
    assert set(ranges) == set(range(7)) and sent < 2 * SIZE
    assert models.stored() == models.hub.sha256(models.site.model)
    models.press("verify")
    result = models.row().get_by_test_id("check-result")
    expect(result).to_have_text("Checked 25 MB in 1 file: every byte is as it was stored.")
    models.hub.log.clear()
    models.page.evaluate(DAMAGE, CHUNK + 7)
    models.press("verify")
    expect(result).to_contain_text("1 piece of at most 4 MB was damaged, fetched again")
    models.state("complete")
    assert models.hub.chunks(models.site.model) == {1: 1}
    assert models.stored() == models.hub.sha256(models.site.model)
    models.press("remove")
    expect(models.get("confirm")).to_contain_text("This frees 25 MB")
    models.confirm()
    expect(models.page.locator("#toast")).to_contain_text("is deleted: 25 MB freed.")
    models.state("offered")
    expect(models.get("stored").locator("li")).to_have_count(0)


@pytest.mark.long
def test_delete_can_be_refused_and_cancel_deletes_what_came(models):
    downloaded(models).press("remove")
    models.page.keyboard.press("Escape")
    expect(models.get("confirm")).to_have_count(0)
    models.state("complete")
    models.press("remove")
    models.confirm()
    models.state("offered")
    models.hub.hold(4)
    models.press("download")
    models.state("download")
    models.until("document.querySelector('.model progress').value > 0.1")
    models.press("cancel")
    models.confirm()
    models.state("offered")
    text = models.get("meter-text")
    expect(text).to_contain_text("Models take 0 B")


def test_what_fails_says_what_to_do_and_goes_on(models):
    from tests.storage.hub_server import Fault
    models.open_models()
    models.hub.fault = lambda asked: Fault(status=404)
    models.press("download")
    failure = models.row().get_by_test_id("error")
    expect(failure).to_contain_text("E_NETWORK")
    expect(failure).to_contain_text("Check the name of the model")
    models.hub.fault = lambda asked: None
    models.press("resume")
    models.state("complete")
    expect(failure).to_have_count(0)
    models.errors.clear()  # the 404 itself, which the browser logs


def test_a_full_storage_offers_what_to_free(models):
    models.open_models()
    models.page.evaluate("""async () => {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle("old-library", { create: true });
      const stream = await (await folder.getFileHandle("w", { create: true })).createWritable();
      await stream.write(new Uint8Array(40e6));
      await stream.close();
    }""")
    client = models.page.context.new_cdp_session(models.page)
    origin = "/".join(models.url.split("/")[:3])
    client.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 60 << 20})
    models.press("download")
    failure = models.row().get_by_test_id("error")
    expect(failure).to_contain_text("E_QUOTA")
    expect(failure).to_contain_text(re.compile(r"full: [\d.]+ [MG]B are needed, \d+ [kMG]?B are free"))
    free = models.row().get_by_test_id("freeable")
    expect(free).to_contain_text("folder old-library · 40 MB")
    free.get_by_role("button").click()
    expect(models.get("confirm")).to_contain_text("another app of this address")
    models.confirm()
    expect(failure).to_have_count(0)
    models.press("download" if models.row().get_attribute("data-state") == "offered" else "resume")
    models.state("complete")


@pytest.mark.long
def test_what_others_keep_is_listed_and_cleared(models):
    models.open_models()
    expect(models.get("foreign")).to_be_hidden()
    models.page.evaluate("""async () => {
      await (await caches.open("other-app")).put("/w", new Response(new Uint8Array(1000)));
      await (await caches.open("jird-shell-x")).put("/w", new Response("ours"));
      const root = await navigator.storage.getDirectory();
      await root.getDirectoryHandle("webllm", { create: true });
      await new Promise((done) => {
        const request = indexedDB.open("other-db", 1);
        request.onsuccess = () => (request.result.close(), done());
      });
    }""")
    models.page.reload()
    rows = models.get("foreign").locator("li")
    expect(rows).to_have_count(3)
    shown = sorted(text.replace("\n", " ") for text in rows.all_inner_texts())
    assert shown == ["other-app cache · 1 kB Clear", "other-db database · size unknown Clear",
                     "webllm folder · 0 B Clear"]
    for left in (2, 1, 0):
        rows.first.get_by_role("button").click()
        models.confirm()
        expect(rows).to_have_count(left)
    kept = models.page.evaluate("""async () => [await caches.keys(),
      (await indexedDB.databases()).map(({ name }) => name)]""")
    assert kept == [["jird-shell-x"], ["jird-chats"]]


@pytest.mark.long
def test_the_meter_and_whether_it_is_kept(models):
    downloaded(models)
    text = models.get("meter-text").inner_text()
    assert re.search(r"^[\d.]+ MB used of about .* Models take 25 MB\.$", text), text
    meter = models.get("meter")
    assert float(meter.get_attribute("aria-valuenow")) >= SIZE
    expect(models.get("backend")).to_contain_text("private file system of this site: the fastest")
    kept = models.get("kept")
    expect(kept).to_contain_text(re.compile("did not agree|until you delete it"))


@pytest.mark.long
@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_to_persist_is_shown_as_it_is(models, answer):
    said = str(answer).lower()
    models.page.add_init_script(f"""
      globalThis.asked = 0;
      navigator.storage.persist = async () => (globalThis.asked++, {said});""")
    models.open_models()
    expect(models.get("kept")).to_contain_text("may delete models when the device runs short")
    models.press("download")
    models.state("complete")
    assert models.page.evaluate("asked") == 1, "asked with the first download"
    models.get("persist").click()
    words = "agreed" if answer else "did not agree"
    expect(models.page.locator("#toast")).to_contain_text(words)
    assert models.page.evaluate("asked") == 2
