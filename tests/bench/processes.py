"""The browser of a benchmark run and the memory of its processes. Standard library only."""

import contextlib
import glob
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time

SAMPLE_S = 1.0


class Browser:
    """A browser command's processes, in a session of their own; ended as a whole on exit.

    Peaks are sums over the session's processes of their proportional set size (shared pages are
    divided among who shares them), by Chromium's process type; Linux only, else empty.
    """

    def __init__(self, command, url):
        self._profile = tempfile.mkdtemp(prefix="jird-bench-")
        parts = [part.format(profile=self._profile, url=url) for part in shlex.split(command)]
        log = open(os.path.join(self._profile, "log"), "wb")
        self._process = subprocess.Popen(parts, stdout=log, stderr=log, start_new_session=True)
        log.close()
        self._peaks, self._stop = {}, threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._sampler.join()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self._end(sign):
                break
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _end(self, sign):
        """Signals every process of the session; -> those that are left after at most 5 s."""
        if os.name != "posix":
            self._process.kill()
            return []
        for pid in session(self._process.pid):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                pass
        until = time.monotonic() + 5
        while (left := session(self._process.pid)) and time.monotonic() < until:
            self._process.poll()
            time.sleep(0.1)
        return left

    def poll(self):
        """The command's exit status, None while it runs."""
        return self._process.poll()

    def peaks(self):
        """{process type: peak bytes} since the last call, `total` among them."""
        found, self._peaks = self._peaks, {}
        return found

    def _sample(self):
        while not self._stop.wait(SAMPLE_S):
            now = {}
            for pid in session(self._process.pid):
                kind, size = process_type(pid), proportional_bytes(pid)
                now[kind] = now.get(kind, 0) + size
            now["total"] = sum(now.values())
            for kind, size in now.items():
                self._peaks[kind] = max(size, self._peaks.get(kind, 0))


@contextlib.contextmanager
def held_back(sign):
    """A signal that comes meanwhile is heard at the end, by whoever heard it before."""
    came, before = [], signal.getsignal(sign)
    signal.signal(sign, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(sign, before)
    if came and callable(before):
        before(*came[0])


def session(leader):
    """Process ids of a session, zombies left out."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.split("/")[2]))
    return found


def process_type(pid):
    """Chromium's `--type` (renderer, gpu-process, ...); "browser" where there is none."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            match = re.search(rb"--type=([a-z-]+)", f.read())
    except OSError:
        return "browser"
    return match.group(1).decode() if match else "browser"


def proportional_bytes(pid):
    """PSS of a process in bytes, 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            match = re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)
    except OSError:
        return 0
    return int(match.group(1)) * 1024 if match else 0


def machine():
    """{cpu, cores, memory_gb, gpu, system, date} of this machine, as far as it tells."""
    cpu = memory = ""
    try:
        with open("/proc/cpuinfo") as f:
            cpu = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M).group(1)
        with open("/proc/meminfo") as f:
            memory = round(int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1)) / 1e6, 1)
    except (OSError, AttributeError):
        pass
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": memory,
        "gpu": nvidia(),
        "system": platform.platform(),
        "date": time.strftime("%Y-%m-%d"),
    }


def nvidia(query="name,driver_version"):
    """What nvidia-smi answers of the GPUs, or None."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def gpu_memory_mb():
    """MiB in use on the first NVIDIA GPU, by whomever; None without one."""
    told = nvidia("memory.used")
    return int(told.split()[0]) if told and told.split()[0].isdigit() else None
