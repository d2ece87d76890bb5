"""The browser is killed (SIGKILL) at random moments of a download, and resumes with what it had."""

import os
import random
import signal
import subprocess
import time

import pytest

from app.build import browsers
from tests.storage.conftest import Lab, data
from tests.storage.hub_server import CHUNK
from tests.support import WAIT_S

FILE = "m/model.gguf"
PARALLEL = 4
QUICK = (10 * CHUNK + 769, 3, 24 << 20)  # bytes, kills, bytes a second
LONG = (24 * CHUNK + 83, 20, 24 << 20)  # the size of the default model


class Browser:
    """Chromium with a profile of its own, in a process group that can be killed whole."""

    def __init__(self, playwright, profile, options=("--disable-gpu",)):
        self.playwright, self.profile, self.options = playwright, profile, options
        self.process = self.connection = None

    def start(self):
        port_file = self.profile / "DevToolsActivePort"
        port_file.unlink(missing_ok=True)
        command = [
            browsers.chromium(),
            *browsers.CHROMIUM_ARGS,
            "--headless=new",
            *self.options,
            "--remote-debugging-port=0",
            f"--user-data-dir={self.profile}",
            "about:blank",
        ]
        self.process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + WAIT_S
        while not port_file.exists() or "\n" not in port_file.read_text():
            assert time.monotonic() < end and self.process.poll() is None, "Chromium does not start"
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        self.connection = self.playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
        return self.connection.contexts[0].new_page()

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        try:
            self.connection.close()
        except Exception:  # its browser is gone: any failure will do
            pass


@pytest.fixture
def killable(playwright, browser_name, tmp_path):
    if browser_name != "chromium" or browsers.chromium() is None or not hasattr(os, "killpg"):
        pytest.skip("needs Chromium and process groups")
    browser = Browser(playwright, tmp_path / "profile")
    browser.profile.mkdir()
    yield browser
    if browser.process.poll() is None:
        browser.kill()


@pytest.mark.parametrize(
    ("size", "kills", "rate"),
    [QUICK, pytest.param(*LONG, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_killed_and_resumed(killable, lab_url, hub, size, kills, rate):
    rng = random.Random(size)
    hub.files, hub.rate = {FILE: data(size, 3)}, rate
    known, done, fetched = set(), 0, set()
    for number in range(kills + 1):
        lab = Lab(killable.start(), lab_url, hub)
        assert lab.start()["result"]["backend"] == "opfs-sync"
        before, known = known, verified_chunks(lab)
        assert known >= before, "a chunk that was reported verified is gone"
        assert bytes_of(known, size) >= done, "what was told as verified is lost"
        assert len(fetched - known) <= PARALLEL, "more than the ranges under way is lost"
        hub.again()
        if number == kills:
            break
        lab.begin(lab.spec(FILE), parallel=PARALLEL)
        lab.until("() => lab.running.progress !== null")
        lab.page.wait_for_timeout(rng.randrange(50, 900))
        done = lab.run("() => lab.running.progress.bytes_done")
        killable.kill()
        fetched = set(hub.chunks(FILE))
        assert not known & fetched, "a verified chunk was fetched again"
    hub.rate = None
    assert lab.download(lab.spec(FILE))["result"]["state"] == "complete"
    chunks = set(range(-(-size // CHUNK)))
    assert hub.chunks(FILE) == dict.fromkeys(chunks - known, 1)
    assert lab.digests() == lab.wanted(FILE)


def bytes_of(chunks, size):
    return sum(min(CHUNK, size - chunk * CHUNK) for chunk in chunks)


def verified_chunks(lab):
    """The chunks that the manifest on disk marks as written."""
    return set(
        lab.run("""async () => {
        const { Manifest } = await import("/js/storage/manifest.js");
        const { createOpfsSync } = await import("/js/storage/opfs_sync.js");
        const file = (await Manifest.load(createOpfsSync(), "a/model"))?.files[0];
        const all = Array.from({ length: file?.chunks ?? 0 }, (_, i) => i);
        return all.filter((i) => file.has(i));
    }""")
    )
