"""One clock for a load's stages: what lies between two marks belongs to the second's name, so that
the parts add up to the whole."""
import time


class Laps:
    """`ms` is {name: milliseconds} in order of first mark; a name may be marked again."""

    def __init__(self, before=None, clock=time.perf_counter):
        self.ms, self._clock = dict(before or {}), clock
        self._last = clock()

    def mark(self, name):
        """Gives the time since the last mark to `name`."""
        now = self._clock()
        self.ms[name] = self.ms.get(name, 0.0) + 1e3 * (now - self._last)
        self._last = now

    def report(self):
        """`ms` with its sum as `total`, to a tenth."""
        rounded = {name: round(ms, 1) for name, ms in self.ms.items()}
        return {**rounded, "total": round(sum(rounded.values()), 1)}
