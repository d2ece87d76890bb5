"""The checkout's own virtual environment. Runs on a bare Python >= 3.11."""
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from app.build import apt, settings
from app.build.console import BuildError, step, watched
from app.build.fetch import last_error, tree_bytes

# `test` installs everything that the other commands need, at the same versions.
INCLUDES = {"serve": ("serve",), "test": ("test", "serve", "https"), "node": ("node",),
            "https": ("https",), "bench": ("bench",)}


def python(venv=None):
    """The interpreter inside the environment."""
    venv = venv or settings.VENV
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def inside(venv=None):
    """True when this process runs in the environment."""
    return Path(sys.prefix).resolve() == (venv or settings.VENV).resolve()


def stamp_text(profile):
    """Changes when the lock or the Python of the environment does."""
    lock = (settings.LOCKS / f"{profile}.lock").read_bytes()
    return f"{hashlib.sha256(lock).hexdigest()} {sys.version_info[0]}.{sys.version_info[1]}\n"


def ready(profile, venv=None):
    """True when the profile's locked packages are installed."""
    venv = venv or settings.VENV
    stamp = venv / f"jird-{profile}.stamp"
    return stamp.exists() and stamp.read_text() == stamp_text(profile) and python(venv).exists()


def ensure(profile, venv=None):
    """Make the environment and install a profile's lock, or find that all is there."""
    venv = venv or settings.VENV
    if ready(profile, venv):
        return
    if settings.offline():
        raise BuildError(f"The packages of '{profile}' are not installed and JIRD_OFFLINE is set.",
                         "Unset JIRD_OFFLINE for one run with a network.")
    if not runs(venv):
        create(venv)
    install(profile, venv)
    for name in INCLUDES[profile]:
        (venv / f"jird-{name}.stamp").write_text(stamp_text(name))


def runs(venv):
    """True when the environment's Python starts and is this version: a moved one is made again."""
    code = "import sys, pip; print(sys.version_info[:2])"
    try:
        done = subprocess.run([python(venv), "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return done.stdout.strip() == str(sys.version_info[:2])


def create(venv):
    """Make an empty environment with pip."""
    step(f"making the virtual environment {venv.name} (Python {sys.version.split()[0]})")
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    done = make(venv)
    if done.returncode and apt.usable():     # Debian ships Python without its venv module
        apt.install([package])
        done = make(venv)
    if done.returncode:
        raise BuildError(f"python -m venv failed: {(done.stdout + done.stderr).strip()[:300]}",
                         f"Install the venv module (Debian and Ubuntu: apt install {package}).")


def make(venv):
    """python -m venv, over whatever is there."""
    return subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)],
                          capture_output=True, text=True)


def install(profile, venv):
    """pip install of one lock file, hashes required."""
    lock = settings.LOCKS / f"{profile}.lock"
    step(f"installing the packages of {lock.name}")
    with tempfile.TemporaryDirectory(prefix="jird-pip-") as folder:
        command = [str(python(venv)), "-m", "pip", "install", "--quiet", "--progress-bar", "off",
                   "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
                   "-r", str(lock)]
        env = os.environ | {"TMPDIR": folder, "TEMP": folder, "TMP": folder}
        with watched(lock.name, lambda: tree_bytes(folder)):
            done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"pip could not install {lock.name}: {last_error(done.stderr)}",
                         "Check the connection to the package index and run again.")
