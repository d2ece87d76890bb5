"""A model beside the chat's, on a device of its own: loaded when it is first asked for, kept until
another is, with a turn of its own."""

import asyncio
from contextlib import asynccontextmanager

from pyengine.errors import RECOVERABLE


class Held:
    """What voice and ears have in common. `release(held)` is awaited to give back what was held."""

    def __init__(self, release):
        self._release, self._turn = release, asyncio.Lock()
        self._held = self._key = None

    @property
    def busy(self):
        return self._turn.locked()

    async def close(self):
        """Releases the model's memory; the next request loads it again."""
        async with self._turn:
            await self._close()

    async def _close(self):
        held, self._held, self._key = self._held, None, None
        if held is not None:
            await self._release(held)

    async def _loaded(self, key, open_):
        """What `open_()` gave for this key; what was held for another goes first."""
        if key != self._key:
            await self._close()
            self._held, self._key = await open_(), key
        return self._held

    @asynccontextmanager
    async def _dropped_if_lost(self):
        """A model whose device is gone goes too, and the next request loads it anew."""
        try:
            yield
        except Exception as error:
            if getattr(error, "code", None) in RECOVERABLE:
                await self._close()
            raise
