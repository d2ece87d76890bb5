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


def ring(*ids):
    """Rings of 12 positions for windows of 8: a slack of 4."""
    found = PrefixCache((12, 4))
    found.extend(ids)
    return found


@pytest.mark.parametrize("resident, keep, want", [
    (12, 1, 1),   # nothing is overwritten yet
    (13, 1, 0), (13, 8, 8), (13, 7, 0),  # position 0 is gone; the row at 8 sees 1 .. 8
    (100, 95, 95), (100, 94, 0), (100, 99, 99),
])
def test_a_ring_goes_back_as_far_as_its_slack(resident, keep, want):
    ids = list(range(resident))
    assert ring(*ids).reusable([*ids[:keep], -1, -2]) == want


def test_what_a_burst_wrote_beyond_its_ids_counts():
    """Of a burst of 6 two ids stay: its other positions are overwritten all the same."""
    ids = list(range(20))
    found = ring(*ids)
    found.begin(6)
    found.extend([20, 21])
    assert found.reusable([*ids, 20, 21, 5]) == 22
    assert found.reusable([*ids, 20, 5]) == 21
    assert found.reusable([*ids, 5]) == 0  # 26 were written
    found.trim(0)
    found.extend(ids[:9])
    assert found.reusable([0, 5, 5]) == 1


def test_bursts_that_land_do_not_count_twice():
    found = ring()
    found.extend([0])
    for i in range(3):
        found.begin(2)
        found.extend([2 * i + 1, 2 * i + 2])
    assert found.reusable([0, 9]) == 1
