"""Debian's package manager, for what Python and npm cannot bring. Standard library only."""
import os
import shutil
import subprocess

from app.build.console import step


def usable():
    """True for root on a machine with apt."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages):
    """apt-get update and install; a failure is told, and the caller looks for what it wanted."""
    step(f"installing with apt: {' '.join(packages)}")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], 300, env)
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], 900, env)


def run(command, limit, env=None):
    """Run an installer quietly; on failure show why, as the next source is then tried."""
    try:
        done = subprocess.run(command, env=env, timeout=limit, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        step(f"{command[0]} did not finish in {limit} s")
        return
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        told = [line for line in lines if "error" in line.lower()] or lines[-1:]
        step(f"that failed: {told[0].strip()[:200]}")
