"""How slow this machine is for a page now, so that a limit in milliseconds judges the page alone.

`attempts(page, limit, measure)` is the way: the limits are meant for a machine of one's own."""

# One slice is 8 ms of an unshared core of an AMD EPYC.
SLICE_MS = 8
LOOP = "for (let n = 0; n < 6_400_000; n++) x = (Math.imul(x, 1664525) + 1013904223) | 0;"
SLICE = """async () => {
  const slices = [];
  let x = 1;
  for (let i = 0; i < 25; i++) {
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const begun = performance.now();
    LOOP
    slices.push(performance.now() - begun);
  }
  globalThis.paceKept = x; // what nobody reads would not be computed
  return slices.sort((a, b) => a - b);
}""".replace("LOOP", LOOP)


def slowness(page):
    """Wall time of a fixed loop beside what it takes there; never below 1."""
    slices = page.evaluate(SLICE)
    return max(1, slices[len(slices) * 4 // 5] / SLICE_MS)


def attempts(page, limit, measure, most=5):
    """Calls `measure()` -> ms up to `most` times, until one is below the limit times the slowness
    just before or after it: the page is at fault only where it is too slow each time.
    -> (whether one was, [(ms, slowness), ...])."""
    seen, before = [], slowness(page)
    for _ in range(most):
        ms, after = measure(), slowness(page)
        seen.append((round(ms, 2), round(max(before, after), 2)))
        if ms < limit * seen[-1][1]:
            return True, seen
        before = after
    return False, seen
