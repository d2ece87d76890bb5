"""Which ids' state is on the device: a following turn computes only what is new."""


class PrefixCache:
    """KV entries are trimmed to any prefix: position i depends on ids 0 .. i only."""

    def __init__(self):
        self.ids = []

    def reusable(self, ids):
        """How many leading positions of `ids` are resident; at least the last one is always
        computed again, because its logits are wanted."""
        limit = min(len(self.ids), len(ids) - 1)
        for i in range(limit):
            if self.ids[i] != ids[i]:
                return i
        return max(limit, 0)

    def trim(self, length):
        """Positions from `length` on are about to be overwritten."""
        del self.ids[length:]

    def extend(self, ids):
        self.ids.extend(ids)
