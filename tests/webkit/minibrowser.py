"""WebKitGTK's MiniBrowser, driven by its own WebDriver on a virtual screen of its own.

It is the nearest thing to Safari that runs on Linux: the same engine, without WebGPU. Its OPFS must
be switched on by features, and has no `createSyncAccessHandle`. A session keeps nothing on disk.
"""
import glob
import os
import shutil
import subprocess

from app.build import browsers

PLACES = ("/usr/lib/*/webkit2gtk-4.1/MiniBrowser", "/usr/libexec/webkit2gtk-4.1/MiniBrowser",
          "/usr/lib/webkit2gtk-4.1/MiniBrowser")
FEATURES = "+StorageAPI,+FileSystem,+AccessHandle,+StorageAPIEstimate"
PAGE_SECONDS = 240


def minibrowser():
    """Path of MiniBrowser, or None."""
    return next((path for place in PLACES for path in sorted(glob.glob(place))), None)


def missing():
    """What is not on this machine of what a session needs, in words; empty when all is there."""
    driver = browsers.webkit() or ""
    needs = {"WebKitWebDriver": driver.endswith("WebKitWebDriver"),
             "MiniBrowser of webkit2gtk-4.1": minibrowser(), "Xvfb": shutil.which("Xvfb")}
    return ", ".join(name for name, found in needs.items() if not found)


class Screen:
    """An X server without a screen, on a display number that it chooses itself."""

    def __enter__(self):
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24",
                   "-nolisten", "tcp"]
        self._server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as chosen:
            self.display = f":{chosen.readline().strip()}"
        return self

    def __exit__(self, *_):
        self._server.terminate()
        self._server.wait()


class Session:
    """One MiniBrowser; `driver` is Selenium's. Tests part their data by serving on other ports."""

    def __enter__(self):
        from selenium import webdriver
        from selenium.webdriver.webkitgtk.options import Options
        from selenium.webdriver.webkitgtk.service import Service
        self._screen = Screen().__enter__()
        options = Options()
        options.binary_location = minibrowser()
        options.add_argument("--automation")
        options.add_argument(f"--features={FEATURES}")
        # Without a GPU the DMA-BUF renderer only writes warnings.
        env = os.environ | {"DISPLAY": self._screen.display, "WEBKIT_DISABLE_DMABUF_RENDERER": "1"}
        try:
            self.driver = webdriver.WebKitGTK(
                options=options, service=Service(browsers.webkit(), env=env))
        except Exception:
            self._screen.__exit__()
            raise
        self.driver.set_script_timeout(PAGE_SECONDS)
        self.driver.set_page_load_timeout(PAGE_SECONDS)
        return self

    def __exit__(self, *_):
        try:
            self.driver.quit()
        finally:
            self._screen.__exit__()
