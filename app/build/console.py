"""What the build says: one line per step, a progress line per download, one message per failure."""
import sys
import threading
import time
from contextlib import contextmanager


class BuildError(Exception):
    """A failure a person can act on: what happened (with got and wanted) and the next step."""

    def __init__(self, what, next_step):
        super().__init__(f"{what}\n  Next: {next_step}")
        self.what = what
        self.next_step = next_step


def say(text):
    """One line on stdout, at once: steps must appear in order with child processes' own output."""
    print(text, flush=True)


def step(text):
    """Announce a step."""
    say(f"[jird] {text}")


def human_bytes(n):
    """1536 -> '1.5 kB'; decimal units, as file managers and browsers show them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000


class Progress:
    """Bytes done of a total (None: unknown) and the rate; a live bar only on a terminal."""

    def __init__(self, label, total=None, stream=None):
        self.label, self.total = label, total
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.start = self.last = time.monotonic()
        self.done = 0

    def update(self, done):
        """Report `done` bytes so far; draws at most 10 times a second, or each 5 s."""
        self.done = min(max(done, self.done), self.total or done)
        now = time.monotonic()
        if now - self.last < (0.1 if self.live else 5):
            return
        self.last = now
        self.stream.write(f"\r\x1b[K{self.text(now)}" if self.live else f"{self.text(now)}\n")
        self.stream.flush()

    def text(self, now):
        rate = f"{human_bytes(self.done / max(now - self.start, 1e-3))}/s"
        if not self.total:
            return f"       {self.label}  {human_bytes(self.done)}  {rate}"
        part = min(self.done / self.total, 1)
        bar = "#" * int(part * 24)
        return (f"       {self.label}  [{bar:<24}] {part:4.0%}  "
                f"{human_bytes(self.done)} of {human_bytes(self.total)}  {rate}")

    def finish(self):
        """Leave one closing line when anything was transferred."""
        if self.live:
            self.stream.write("\r\x1b[K")
        if self.done:
            self.stream.write(f"{self.text(time.monotonic())}\n")
        self.stream.flush()


@contextmanager
def watched(label, count, total=None):
    """Progress while the body runs a client that transfers; `count()` is the bytes so far."""
    progress, stop = Progress(label, total), threading.Event()

    def watch():
        while not stop.wait(0.3):
            progress.update(count())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        progress.update(count())
        progress.finish()
