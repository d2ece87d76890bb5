"""The judge of time limits itself: work of the page counts, whatever the machine does besides."""
from tests.browser.pace import SLICE_MS, attempts

WORK = """(slices) => {
  let x = 1;
  const begun = performance.now();
  for (let i = 0; i < slices; i++)
    for (let n = 0; n < 6_400_000; n++) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  globalThis.workKept = x;
  return performance.now() - begun;
}"""


def test_work_over_the_limit_is_found_each_time(page):
    quick, seen = attempts(page, 50, lambda: page.evaluate(WORK, 8 * 50 // SLICE_MS), 2)
    assert not quick and len(seen) == 2 and all(slow >= 1 for _, slow in seen), seen


def test_work_within_the_limit_passes_at_once_or_later(page):
    quick, seen = attempts(page, 50, lambda: page.evaluate(WORK, 1), 8)
    assert quick, seen
