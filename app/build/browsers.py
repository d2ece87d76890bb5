"""Browsers and Vulkan drivers for the tests: those here, else Playwright's download, else apt."""
import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.build import apt
from app.build.console import step

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
# What opens WebGPU on a machine without a GPU, and keeps the browser from calling home.
CHROMIUM_ARGS = (
    "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run")


def chromium():
    """Path of a Chromium or Chrome that can be driven, Playwright's own last; or None."""
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    if os.path.exists(CHROMIUM_MAC):
        return CHROMIUM_MAC
    return playwright_browser("chromium")


def playwright_browser(kind):
    """Path of a browser that Playwright downloaded, or None."""
    code = ("import sys; from playwright.sync_api import sync_playwright\n"
            "with sync_playwright() as p: print(getattr(p, sys.argv[1]).executable_path)")
    done = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True)
    path = done.stdout.strip()
    return path if done.returncode == 0 and os.path.exists(path) else None


def webkit():
    """Path of WebKitGTK's WebDriver or of Playwright's WebKit; None when there is neither."""
    return shutil.which("WebKitWebDriver") or playwright_browser("webkit")


def vulkan_icds():
    """The Vulkan drivers that are installed, as paths of their manifests."""
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES") or ""
    found = [p for p in named.split(os.pathsep) if p and os.path.exists(p)]
    for folder in ICD_FOLDERS:
        found += sorted(glob.glob(f"{folder}/*.json"))
    return found


def gpu_node():
    """True when a real GPU's device node is there."""
    return bool(glob.glob("/dev/dri/renderD*") or glob.glob("/dev/nvidia[0-9]*"))


def lavapipe_environment():
    """VK_DRIVER_FILES naming Mesa's software driver, where no GPU is there to be used; else {}."""
    if gpu_node() or os.environ.get("VK_DRIVER_FILES"):
        return {}
    software = [path for path in vulkan_icds() if Path(path).name.startswith("lvp_icd")]
    return {"VK_DRIVER_FILES": software[0]} if software else {}


@dataclass(frozen=True)
class Need:
    """Something tests want: a probe, Playwright's name for it (or None), its apt packages."""
    name: str
    probe: Callable[[], object]
    playwright: str | None
    apt: tuple


NEEDS = (
    Need("Chromium", chromium, "chromium", ("chromium",)),
    Need("a Vulkan driver", vulkan_icds, None, ("mesa-vulkan-drivers",)),
    Need("WebKit", webkit, "webkit", ("webkit2gtk-driver", "xvfb")),
)


def ensure():
    """Install what the tests need and is not there; returns the names of what stays missing."""
    missing = [need for need in NEEDS if not need.probe()]
    for need in missing:
        if need.playwright:
            step(f"{need.name} is not here: asking Playwright for its own")
            apt.run([sys.executable, "-m", "playwright", "install", need.playwright], 600)
    missing = [need for need in missing if not need.probe()]
    if missing and apt.usable():
        apt.install([package for need in missing for package in need.apt])
        missing = [need for need in missing if not need.probe()]
    for need in missing:
        step(f"{need.name} is missing; its tests will be skipped. On Debian or Ubuntu: "
             f"sudo apt-get install {' '.join(need.apt)}")
    return [need.name for need in missing]

