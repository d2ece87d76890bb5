"""`np`, imported on first use: importing numpy costs about a second in the browser, and start-up
needs none of it."""
import importlib


class _LazyModule:
    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


np = _LazyModule("numpy")
