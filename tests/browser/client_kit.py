"""Tabs with jird.js over a fake worker: `tab`, and `open_tab()` for more of them."""
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHELL = HERE.parents[1] / "pwa_shell"


@pytest.fixture
def client_url(tmp_path, serve):
    shutil.copytree(SHELL / "js", tmp_path / "js")
    for path in (SHELL / "jird.js", SHELL / "storage_worker.js", HERE / "fake_engine_worker.js", HERE / "jird_page.html"):
        shutil.copy(path, tmp_path)
    return serve(tmp_path, "/sub/path/").url + "jird_page.html"


@pytest.fixture
def open_tab(context, client_url):
    def open_tab():
        tab = context.new_page()
        tab.goto(client_url)
        tab.wait_for_function("window.ready")
        return tab

    return open_tab


@pytest.fixture
def tab(open_tab):
    tab = open_tab()
    yield tab
    if not tab.is_closed():
        tab.wait_for_function("hub.live.pending === 0")
