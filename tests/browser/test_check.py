"""The device check: every row tried in a real browser on its own GPU, and on GPUs that fail."""
import json

import pytest
from playwright.sync_api import expect

from app.build.site import CHECKED
from pyengine import selftest_kernels
from tests.browser.axe_kit import serious
from tests.browser.pwa_kit import Tab
from tests.support import WAIT_MS

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.axe_kit"]
ROWS = ("secure", "python", "store", "handles", "chats", "room", "offline", "gpu", "llama",
        "hybrid", "selftest", "sound", "install")
LOOKS = """() => ({ wide: document.documentElement.scrollWidth - innerWidth,
  small: [...document.querySelectorAll("button, .check-home")]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 43.5).length })"""


def checked(tabs, app, query=""):
    """-> (Tab, {row: its state}, report's lines, report's figures)."""
    tab = Tab(tabs)
    tab.page.goto(f"{app.url}check.html{query}")
    tab.get("check-start").click()
    expect(tab.get("check-report")).to_be_visible(timeout=4 * WAIT_MS)
    states = {row: tab.get(f"check-{row}").get_attribute("data-state") for row in ROWS}
    lines = tab.get("check-report").inner_text().strip().split("\n")
    assert tab.errors == []
    return tab, states, lines, json.loads(lines[-1])


def test_the_site_has_the_models_that_the_engine_knows(dist):
    answers = json.loads((dist / "check/known.json").read_text())
    assert set(answers) == {"llama", "hybrid"}
    for name, answer in answers.items():
        row = selftest_kernels.known(CHECKED[name])
        assert answer == {key: row[key] for key in ("prompt", "ids")}
        for file, data in selftest_kernels.files(row).items():
            assert (dist / "check" / name / file).read_bytes() == data


def test_every_row_of_a_sound_browser_and_its_report(tabs, app):
    tab, states, lines, facts = checked(tabs, app)
    assert states == dict.fromkeys(ROWS, "ok") | {"offline": states["offline"], "install": "skipped"}
    assert states["offline"] in ("ok", "skipped")
    assert facts["llama"]["tokens"] == 8 and facts["hybrid"]["backend"] == "webgpu"
    assert facts["selftest"]["right"] == facts["selftest"]["all"] > 20
    assert facts["gpu"]["maxStorageBuffersPerShaderStage"] >= 8 and facts["store"]["bytes"] > 6e4
    assert lines[0].startswith("Jird ") and "Chrome" in "".join(lines[:4])
    assert sum(line.startswith(("ok ", "failed ", "skipped ")) for line in lines) == len(ROWS)
    left = tab.page.evaluate("""async () => {
        const { StorageClient } = await import("./js/storage/client.js");
        const storage = StorageClient.start(new URL("storage_worker.js", document.baseURI));
        return (await storage.call("list")).map(({ id }) => id);
    }""")
    assert left == [], "the check leaves no model behind"
    tab.page.set_viewport_size({"width": 360, "height": 740})
    assert tab.page.evaluate(LOOKS) == {"wide": 0, "small": 0}
    with tab.page.expect_download() as saved:
        tab.get("check-save").click()
    assert saved.value.suggested_filename == "jird-check.txt"


@pytest.mark.long
def test_a_gpu_that_computes_wrongly_is_named_and_survived(tabs, app):
    query = "?gpuFaults=" + json.dumps({"zerosAfter": 40})
    _, states, lines, facts = checked(tabs, app, query)
    assert states["selftest"] == "failed" and states["llama"] == states["hybrid"] == "ok"
    assert facts["selftest"]["dispatches"] == 32 and "chain: 64/1/1" in facts["selftest"]["wrong"]
    assert any(line.startswith("failed  selftest") for line in lines)


def test_the_diagnostics_lead_to_it(tabs, app):
    tab = Tab(tabs, app.url)
    tab.until("!document.getElementById('diagnostics').disabled")
    tab.page.evaluate("document.getElementById('diagnostics').click()")
    tab.get("check-link").click()
    expect(tab.get("check-start")).to_be_enabled()
    assert tab.page.url.endswith("check.html")


def test_axe_finds_nothing_serious_on_it(page, site, axe):
    """Before it begins, and with every row and the report, some of them failed."""
    page.add_init_script("delete Navigator.prototype.gpu")  # a page that cannot compute is done soon
    page.goto(site.url + "check.html")
    start = page.get_by_test_id("check-start")
    expect(start).to_be_enabled()
    assert serious(page, axe) == []
    start.click()
    expect(page.get_by_test_id("check-report")).to_be_visible(timeout=4 * WAIT_MS)
    assert page.locator("[data-testid^=check-][data-state=failed]").count() > 0
    assert serious(page, axe) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page, axe, ["color-contrast"]) == []
