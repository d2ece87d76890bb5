"""Wheels that the build makes: pure markupsafe, and jird. The same input gives the same bytes."""
import base64
import hashlib
import importlib.metadata
import json
import os
import zipfile
from pathlib import Path

from app.build import settings
from app.build.console import BuildError

# Not for the browser: the build itself.
EXCLUDED = ("app/build/",)
PACKAGES = ("app", "pyengine")
RENDERED = "pyengine/kernels/rendered.json"
KNOWN = "pyengine/known"


def write_wheel(target, name, version, files, requires=(), license_file=None,
                compression=zipfile.ZIP_DEFLATED):
    """Write a pure-Python wheel from `files` {archive path: bytes}; returns its hex sha256."""
    info = f"{name}-{version}.dist-info"
    entries = dict(files)
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    entries[f"{info}/METADATA"] = "\n".join(
        metadata + [f"Requires-Dist: {r}" for r in requires] + [""]).encode()
    entries[f"{info}/WHEEL"] = (b"Wheel-Version: 1.0\nGenerator: jird\n"
                                b"Root-Is-Purelib: true\nTag: py3-none-any\n")
    if license_file is not None:
        entries[f"{info}/LICENSE"] = license_file
    entries[f"{info}/RECORD"] = record(entries, info)
    part = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for path in sorted(entries):
            archive.writestr(entry_info(path, compression), entries[path])
    os.replace(part, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def entry_info(path, compression):
    """A zip entry without the clock, the umask or the platform in it."""
    info = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = compression
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info


def record(entries, info):
    """RECORD of the wheel format: path, urlsafe sha256 without padding, size."""
    lines = []
    for path in sorted(entries):
        digest = base64.urlsafe_b64encode(hashlib.sha256(entries[path]).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(entries[path])}")
    return "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()


def markupsafe_wheel(folder):
    """Pure markupsafe for Pyodide, from the installed package that the venv's lock pins.

    Stored, not deflated: the pinned hash must not depend on a zlib version.
    """
    version = settings.MARKUPSAFE_VERSION
    installed = importlib.metadata.distribution("markupsafe")
    if installed.version != version:
        raise BuildError(f"markupsafe {installed.version} is installed, wanted {version}.",
                         "Run python3 build.py, which installs the locked packages.")
    names = ("markupsafe/__init__.py", "markupsafe/_native.py")
    files = {name: installed.locate_file(name).read_bytes() for name in names}
    target = Path(folder) / f"markupsafe-{version}-py3-none-any.whl"
    got = write_wheel(target, "markupsafe", version, files, compression=zipfile.ZIP_STORED,
                      license_file=license_of(installed))
    if got != settings.MARKUPSAFE_SHA256:
        raise BuildError(f"{target.name} has sha256 {got}, wanted {settings.MARKUPSAFE_SHA256}.",
                         "Delete .venv and run again: its markupsafe is not the locked one.")
    return target


def license_of(distribution):
    """The licence text that an installed distribution carries."""
    for file in distribution.files or ():
        if file.name.upper().startswith("LICEN"):
            return Path(distribution.locate_file(file)).read_bytes()
    raise BuildError(f"{distribution.name} carries no licence file.", "Delete .venv and run again.")


def jird_files(root=None):
    """{archive path: bytes} of the packages that run in the browser, with the rendered kernels and
    the self-test's plans."""
    from pyengine import selftest_kernels
    from pyengine.kernels.source import render_all
    root = Path(root or settings.ROOT)
    files = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and "__pycache__" not in name and not name.startswith(EXCLUDED):
                files[name] = path.read_bytes()
    rendered = render_all()
    files[RENDERED] = packed(rendered)
    for name in selftest_kernels.MODELS:
        plans = finished(selftest_kernels.plans(name, rendered))
        files[f"{KNOWN}/{name}.plans"] = plans
    return files


def built_plans(path):
    """({tiny model: its plans' bytes}, {key: text} of the rendered kernels) in Jird's wheel."""
    from pyengine.selftest_kernels import MODELS
    with zipfile.ZipFile(path) as archive:
        plans = {name: archive.read(f"{KNOWN}/{name}.plans") for name in MODELS}
        return plans, json.loads(archive.read(RENDERED))


def packed(data):
    """JSON that is the same for the same data."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def finished(coroutine):
    """What a coroutine gives that waits for nothing: a running event loop does not matter to it."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


def jird_wheel(folder):
    """Our packages as one wheel that requires nothing: the worker loads numpy and jinja2 when it
    has to, and a start waits for neither."""
    from pyengine import __version__ as version
    target = Path(folder) / f"jird-{version}-py3-none-any.whl"
    license_file = (settings.ROOT / "LICENSE").read_bytes()
    write_wheel(target, "jird", version, jird_files(), license_file=license_file)
    return target
