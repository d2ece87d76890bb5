"""Loading Qwen3.5-0.8B's 4-bit shards, 420 MB, in Chromium: what it adds to the heaps of JavaScript
and wasm."""

import json
import shutil

import pytest

from tests.bench.random_qwen3_5 import CONFIG, write
from tests.e2e.heap import LIMIT, growth_of_a_load
from tests.support import link_site


@pytest.fixture
def big(dist, tmp_path, serve):
    """(address of the site, of the model's folder) of one origin."""
    site = link_site(dist, tmp_path / "site")
    assert 420e6 < write(site / "big", json.loads(CONFIG.read_text())) < 460e6
    assert len(list((site / "big").glob("*.safetensors"))) > 2
    url = serve(site).url
    yield url, f"{url}big/"
    shutil.rmtree(site)


@pytest.mark.long
def test_420_mb_of_shards_add_little(page, big):
    url, model = big
    page.goto(url)
    assert growth_of_a_load(page, model, context=512) <= LIMIT, "from the network"
    assert growth_of_a_load(page, model, context=512) <= LIMIT, "from storage"
