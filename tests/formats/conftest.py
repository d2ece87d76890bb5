"""`run`: awaits a coroutine to its end."""

import asyncio

import pytest


@pytest.fixture
def run():
    return asyncio.run
