"""NanoCodec's decoder on the browser's WebGPU: NeMo's samples, and frames that come one by one."""
import numpy as np
import pytest

from tests.browser import codec_in_page as in_page
from tests.browser.engine_page import EnginePage


@pytest.fixture
def page(browser, site, goldens):
    page = EnginePage(browser, site.url, goldens)
    yield page
    assert page.errors == []
    page.close()


def test_a_browser_decodes_as_nemo_does_and_as_it_streams(page, goldens):
    golden = np.load(goldens / "nanocodec-tiny" / "golden.npz")
    found = page.run(in_page.decoded, folder="nanocodec-tiny", frames=golden["codes"].T.tolist(),
                     cuts=[[1] * 6, [4, 2], [5, 1]], buckets=[1, 4])
    assert np.abs(np.array(found["samples"]) - golden["audio"]).max() < 1e-4
    assert found["same"] == [True, True, True] and not found["grown"]
