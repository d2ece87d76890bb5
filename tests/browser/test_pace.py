"""The judge of time limits itself: work of the page counts, whatever the machine does besides."""
from tests.browser.pace import LOOP, SLICE_MS, attempts

WORK = """(slices) => {
  let x = 1;
  const begun = performance.now();
  for (let i = 0; i < slices; i++)
    LOOP
  globalThis.workKept = x;
  return performance.now() - begun;
}""".replace("LOOP", LOOP)


def test_work_over_the_limit_is_found_each_time(page):
    quick, seen = attempts(page, 50, lambda: page.evaluate(WORK, 8 * 50 // SLICE_MS), 2)
    assert not quick and len(seen) == 2 and all(slow >= 1 for _, slow in seen), seen


def test_work_within_the_limit_passes_at_once_or_later(page):
    quick, seen = attempts(page, 50, lambda: page.evaluate(WORK, 1), 8)
    assert quick, seen
