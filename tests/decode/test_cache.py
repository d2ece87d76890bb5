"""The prefix cache: what counts as resident."""
import pytest

from pyengine.decode.cache import PrefixCache


def cache(*ids):
    found = PrefixCache()
    found.extend(ids)
    return found


@pytest.mark.parametrize("resident,asked,want", [
    ([], [1], 0), ([], [1, 2, 3], 0), ([1, 2, 3], [1, 2, 3, 4, 5], 3),
    ([1, 2, 3], [1, 2, 3], 2),            # the last is computed again: its logits are wanted
    ([1, 2, 3, 4], [1, 2], 1), ([1, 2, 3], [1, 9, 3, 4], 1), ([1, 2, 3], [9, 2, 3], 0),
    ([7], [7], 0), (list(range(769)), list(range(768)) + [0, 1], 768),
])
def test_reusable(resident, asked, want):
    assert cache(*resident).reusable(asked) == want


def test_trim_and_extend():
    found = cache(1, 2, 3)
    found.trim(1)
    found.extend([8, 9])
    assert found.ids == [1, 8, 9]
    found.trim(7)
    assert found.ids == [1, 8, 9]
    found.trim(0)
    assert found.ids == [] and found.reusable([1, 8, 9]) == 0
