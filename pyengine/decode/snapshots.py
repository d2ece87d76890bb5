"""Prefix reuse for models with recurrent state, which can only be extended: the state lies at one
position, and saved copies of it at a few others."""
from pyengine.decode.cache import PrefixCache

ADVANCE = 128  # positions that a turn may compute again and again before its copy moves up


class StateCache(PrefixCache):
    """A `PrefixCache` of which only some prefixes can be gone on from: the one where the live state
    lies, and those of the saved copies, one a slot. A copy counts while the KV entries of its
    prefix stay."""

    def __init__(self, slots):
        super().__init__()
        self._slots = slots
        self._live = 0      # position of the live state
        self._saved = {}    # slot -> position

    def reusable(self, ids):
        """As a `PrefixCache`'s, but the longest prefix of which there is a state."""
        same = super().reusable(ids)
        if self._live == same and not self.unsettled:
            return same
        return max((at for at in self._saved.values() if at <= same), default=0)

    def slot_at(self, start):
        """The slot to load before going on at `start`; None where the live state is there, or none
        is needed."""
        if start == 0 or self._live == start and not self.unsettled:
            return None
        return next(slot for slot, at in self._saved.items() if at == start)

    def to_save(self, ids, start):
        """{position: slot} of the copies to make while `ids` are computed from `start` on; asked
        before `trim`.

        The first slot keeps where this turn leaves what is known: an edited or regenerated turn
        goes on from there, and so does what follows an overrun. Where there is a second, it keeps
        the end of the prompt."""
        common, last = super().reusable(ids), len(ids) - 1
        found = {last: 1} if self._slots > 1 else {}
        if start == 0 or common - start >= ADVANCE:
            found[common or last] = 0
        elif start not in self._saved.values():
            found[start] = 0
        return {at: slot for at, slot in found.items() if start <= at and at > 0}

    def saved(self, slot):
        """The live state was copied to `slot`."""
        self._saved[slot] = len(self.ids)

    @property
    def unsettled(self):
        """True when the live state may lie beyond `ids`: a burst ran past what was kept of it."""
        return self._begun > 0

    def settle(self, position):
        """The device says where its state lies."""
        if position == len(self.ids):
            self._begun = 0
            self._live = position

    def trim(self, length):
        super().trim(length)
        self._live = len(self.ids)
        self._saved = {slot: at for slot, at in self._saved.items() if at <= length}

    def extend(self, ids):
        super().extend(ids)
        self._live = len(self.ids)
