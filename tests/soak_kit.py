"""What the soak tests share: samples over time, and whether what they show is flat."""
import os
import time
from pathlib import Path

MB = 1e6
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid="self"):
    """Bytes of memory that a process has in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def own(pid):
    """Bytes that a process has in RAM for itself: no pages of files, nothing that it shares."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines()
               if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def minutes(request, default):
    """How long to run: `--soak-minutes`, else the default."""
    return request.config.getoption("--soak-minutes") or default


class Samples:
    """Rows of numbers by name, each with its time in seconds. What begins to run settles during the
    first third, which counts for nothing."""

    def __init__(self):
        self.rows, self._began = [], time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self._began

    def add(self, **numbers):
        self.rows.append({"s": self.seconds, **numbers})

    def settled(self):
        return [row for row in self.rows if row["s"] >= self.rows[-1]["s"] / 3]

    def slope(self, name):
        """By least squares, a minute."""
        rows = self.settled()
        middle = sum(row["s"] for row in rows) / len(rows)
        mean = sum(row[name] for row in rows) / len(rows)
        spread = sum((row["s"] - middle) ** 2 for row in rows)
        return 60 * sum((row["s"] - middle) * (row[name] - mean) for row in rows) / spread

    def grown(self, name):
        """The median of the last third less that of the middle one."""
        rows = [row[name] for row in self.settled()]
        half = len(rows) // 2
        return sorted(rows[half:])[(len(rows) - half) // 2] - sorted(rows[:half])[half // 2]

    def report(self, title, **facts):
        """A line of the table in docs/reliability.md for each name."""
        print(f"\n{title}: {self.rows[-1]['s'] / 60:.1f} min, {len(self.rows)} samples, "
              + ", ".join(f"{value} {name}" for name, value in facts.items()))
        for name in self.rows[0]:
            if name == "s":
                continue
            first, last = self.settled()[0][name], self.rows[-1][name]
            unit, scale = (" MB", MB) if name.endswith("memory") else ("", 1)
            print(f"  {name:20} {first / scale:10.2f} -> {last / scale:10.2f}{unit}, "
                  f"{self.slope(name) / scale:+.4f}{unit} a minute")
