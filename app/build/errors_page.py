"""docs/errors.md: every error's code, what happened and what to do, from the engine's own table.

    .venv/bin/python -m app.build.errors_page
"""
import re
from pathlib import Path

from pyengine.errors import MESSAGES

PAGE = Path(__file__).resolve().parents[2] / "docs/errors.md"
HEAD = """# Errors

Every failure that a person can meet has a code, a message with its facts, and a next step. A
program reads `error.code` and `error.facts`; `jird.js` throws them as `JirdError`, the command line
prints them with `--json`. Words in angle brackets are facts. This page is made from
`pyengine/errors.py` by `python -m app.build.errors_page`; the browser's own modules use the same
rows (`pwa_shell/js/errors.js`, `pwa_shell/js/storage/errors.js`).

| code | what happened | next step |
|---|---|---|
"""


def _shown(text):
    return re.sub(r"\{(\w+)\}", r"&lt;\1&gt;", text).replace("|", "\\|")


def page():
    """The page's text."""
    rows = (f"| `{code}` | {_shown(what)} | {_shown(step)} |\n"
            for code, (what, step) in sorted(MESSAGES.items()))
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
