"""The autotuner's time: what is left of it, and what the like of an action took so far."""
from contextlib import contextmanager


class Allowance:
    """Time until `end` on a clock, in seconds. An action has a kind and a size in units of that
    kind; it is expected to take as long a unit as the slowest of its kind did."""

    def __init__(self, end, clock):
        self._end, self._clock = end, clock
        self._rates = {}  # kind -> seconds a unit

    def knows(self, kind):
        """Whether such an action was seen."""
        return kind in self._rates

    def has(self, kind, units=1):
        """Whether one more action would end in time; of a kind not seen yet: whether any is
        left."""
        now = self._clock()
        return now < self._end and now + units * self._rates.get(kind, 0) <= self._end

    @contextmanager
    def spent(self, kind, units=1):
        """Times an action; one of no units tells nothing."""
        began = self._clock()
        try:
            yield
        finally:
            if units:
                rate = (self._clock() - began) / units
                self._rates[kind] = max(rate, self._rates.get(kind, 0))
