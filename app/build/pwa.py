"""What makes the site installable: screenshots, and the service worker with its list of files."""
import base64
import hashlib
import json
import shutil
from pathlib import Path

from app.build import node, settings
from app.build.console import BuildError

SCREENS = settings.ROOT / "docs/screens"
# workbox-build's own placeholder.
LIST_MARK = "self.__WB_MANIFEST"
# Only an installer asks for these, and models are the storage Worker's.
NOT_PRECACHED = ("sw.js", "models/", "img/splash/", "img/screens/")
PRECACHED = ("models/index.json",)


def prepare(site):
    """Complete an assembled `site` but for the worker's list, which needs all other files final."""
    write_screens(site)
    bundle_worker(site / "sw.js")


def write_screens(site):
    """The manifest's screenshots, from the pictures of the documentation."""
    manifest = json.loads((site / "manifest.webmanifest").read_text())
    for row in manifest["screenshots"]:
        target = site / row["src"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SCREENS / target.name, target)


def bundle_worker(target):
    """The service worker's script with Workbox in it, still without its list of files."""
    source = (settings.SHELL / "sw.js").read_text()
    node.bundle(node.tools()[0], source, target, "--format=iife",
                '--define:process.env.NODE_ENV="production"')
    licence = (node.MODULES / "workbox-core/LICENSE").read_text()
    (target.parent / "vendor/licenses/workbox.txt").write_text(licence)


def precached(name):
    """Whether the service worker keeps the file `name` (path below the site)."""
    return name in PRECACHED or not name.startswith(NOT_PRECACHED)


def precache_list(site):
    """[{url, revision, integrity}] of every file to keep, URLs relative to the worker's."""
    rows = []
    for path in sorted(Path(site).rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.is_file() and precached(name):
            with open(path, "rb") as f:
                digest = hashlib.file_digest(f, "sha256").digest()
            rows.append({"url": f"./{name}", "revision": digest.hex()[:16],
                         "integrity": f"sha256-{base64.b64encode(digest).decode()}"})
    return rows


def write_precache_list(site):
    """Put the list into sw.js: the site's last step, as it holds every other file's digest."""
    worker = Path(site) / "sw.js"
    text = worker.read_text()
    if (times := text.count(LIST_MARK)) != 1:
        raise BuildError(f"The bundled sw.js has {LIST_MARK} {times} times, wanted once.",
                         "pwa_shell/sw.js must hand it to Workbox once.")
    rows = json.dumps(precache_list(site), separators=(",", ":"))
    worker.write_text(text.replace(LIST_MARK, rows))
