"""docs/errors.md is what the table says, and some test causes every code."""
import re
from pathlib import Path

import pytest

from app.build import errors_page
from pyengine.errors import MESSAGES

TESTS = Path(__file__).resolve().parent
ABOUT_THE_TABLE = ("test_errors.py", "test_errors_page.py")


def test_the_page_is_made_from_the_table():
    assert errors_page.PAGE.read_text() == errors_page.page(), "run -m app.build.errors_page"
    listed = re.findall(r"^\| `(E_\w+)` \|", errors_page.page(), re.M)
    assert listed == sorted(MESSAGES) and len(listed) > 20


@pytest.fixture(scope="module")
def texts():
    return [path.read_text() for path in sorted(TESTS.rglob("test_*.py"))
            if path.name not in ABOUT_THE_TABLE]


@pytest.mark.parametrize("code", MESSAGES)
def test_a_test_expects_the_code(code, texts):
    expected = re.compile(rf"(==|\bin\b|code|refused|raises|,|\(|:)[^\n]*[\"']{code}[\"']")
    assert any(expected.search(text) for text in texts)
