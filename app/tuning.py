"""Where the autotuner's choices are kept, and whether it runs: a file natively, IndexedDB in the
browser."""

import json
import os
from pathlib import Path

MOST = 32  # keys of the file; the whole self-test alone keeps one for each of its models


def wanted(asked, caps):
    """Whether to tune: as asked (a bool), else on GPUs; a software device knows its choices."""
    if asked is not None:
        return asked
    return not caps.software and caps.backend != "numpy"


class BrowserCache:
    """Over the worker's JavaScript parts `tuning_get(key)` and `tuning_put(key, text)`."""

    def __init__(self, parts):
        self._parts = parts

    async def get(self, key):
        """The text, or None."""
        return await self._parts.tuning_get(key)

    async def put(self, key, text):
        """Keeps the text, if the browser does."""
        await self._parts.tuning_put(key, text)


class FileCache:
    """One JSON object in a file, by default in the user's cache folder."""

    def __init__(self, path=None):
        self._path = Path(path or Path.home() / ".cache" / "jird" / "tuning.json")

    def _read(self):
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    async def get(self, key):
        """The text, or None."""
        return self._read().get(key)

    async def put(self, key, text):
        """Keeps the text. Raises OSError where the folder cannot be written."""
        kept = {k: v for k, v in self._read().items() if k != key}
        kept = dict([*kept.items(), (key, text)][-MOST:])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(kept), encoding="utf-8")
        part.replace(self._path)


class LoadingMark:
    """Says that a model is being loaded, from before the GPU's memory is filled until it is ready.
    A mark that is found at a start means that the browser ended the page meanwhile."""

    KEY = "loading"

    def __init__(self, cache):
        self._cache = cache

    async def found(self):
        """The model that was being loaded when the page ended, or None."""
        return await self._cache.get(self.KEY) or None

    async def set(self, model):
        """Before the risky part."""
        await self._cache.put(self.KEY, model)

    async def clear(self):
        """At its end, however it ended."""
        await self._cache.put(self.KEY, "")
