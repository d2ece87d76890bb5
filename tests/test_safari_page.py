"""docs/safari.md: every fault names the tests that cause it, and they are there."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/safari.md").read_text().splitlines()
        if line.startswith("|") and not re.match(r"\|-|\| fault \|", line)]


def test_the_page_has_rows():
    assert len(ROWS) > 15


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_row_names_tests_that_are_there(row):
    fault, noticed, then, caused = row
    named = re.findall(r"`(tests/[\w/.]+)`", caused)
    assert fault and noticed and then and named, "a row without a test that causes it"
    for path in named:
        assert (ROOT / path).exists(), path
    for words in re.findall(r"\(([a-z ]+)\)", caused):  # the test's own words
        text = "".join((ROOT / path).read_text() for path in named if path.endswith(".py"))
        assert all(part.strip().replace(" ", "_") in text for part in words.split(",")), words
