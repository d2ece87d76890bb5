"""`in_js(kind)`: the fixture tokenizer of that name in Node, over pwa_shell/tokenizer.js."""

import pytest

from tests.support import WAIT_S
from tests.text import backends


@pytest.fixture(scope="session")
def node():
    process, folder = backends.start_node()
    yield process
    process.stdin.close()
    process.wait(timeout=WAIT_S)
    process.stdout.close()
    folder.cleanup()


@pytest.fixture(scope="session")
def in_js(node):
    made = {}

    def make(kind):
        # One process holds one tokenizer: opening another replaces it.
        if list(made) != [kind]:
            made.clear()
            made[kind] = backends.in_node(node, backends.tokenizer_json(kind))
        return made[kind]

    return make
