"""Which ids' state is on the device: a following turn computes only what is new."""


class PrefixCache:
    """KV entries are trimmed to any prefix: position i depends on ids 0 .. i only. Where sliding
    windows make `ring` (positions, slack) of them, only to one whose window is still there."""

    def __init__(self, ring=None):
        self.ids = []
        self._ring = ring
        self._written = 0  # positions 0 .. written - 1 have been written since the last full trim
        self._begun = 0    # of bursts that are under way, beyond `ids`

    def reusable(self, ids):
        """How many leading positions of `ids` are resident; at least the last one is always
        computed again, because its logits are wanted."""
        limit = min(len(self.ids), len(ids) - 1)
        same = next((i for i in range(limit) if self.ids[i] != ids[i]), max(limit, 0))
        return same if self._restorable(same) else 0

    def _restorable(self, length):
        """Whether a ring still holds the window before position `length`: what lies `positions`
        before the last one written is gone, and a window is `positions` less the slack."""
        if self._ring is None:
            return True
        positions, slack = self._ring
        return self._written <= positions or self._written - length <= slack + 1

    unsettled = False  # what a burst wrote beyond `ids` does not matter

    def slot_at(self, start):
        """The saved state to load before going on at `start`: none is needed."""

    def to_save(self, ids, start):
        """{position: slot} of the states to save while `ids` are computed from `start` on."""
        return {}

    def trim(self, length):
        """Positions from `length` on are about to be overwritten."""
        del self.ids[length:]
        self._begun = 0
        if not self.ids:
            self._written = 0

    def begin(self, steps):
        """A burst of `steps` positions is on its way: they are written whatever becomes of its
        ids."""
        self._begun += steps
        self._written = max(self._written, len(self.ids) + self._begun)

    def extend(self, ids):
        """`ids` are resident behind the others."""
        self.ids.extend(ids)
        self._begun = max(0, self._begun - len(ids))
        self._written = max(self._written, len(self.ids))
