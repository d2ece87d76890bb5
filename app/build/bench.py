"""`build.py bench`: the peers, the kit (one folder with all that a run needs), parts to carry it.

The kit runs on any machine with Python and a Chromium (tests/bench/run.py is its runner), so every
run is one of a kit, here or elsewhere.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from app.build import browsers, node, settings, site, venv
from app.build.console import BuildError, human_bytes, step

SOURCES = settings.ROOT / "tests/bench"
MODULES = SOURCES / "node_modules"
WORK = settings.ROOT / ".bench"
MODEL = "smollm2-135m-instruct"
RESULTS = settings.ROOT / "docs/bench"
PAGE = settings.ROOT / "docs/performance.md"
RUNNER = ("run.py", "serve.py", "processes.py", "random_model.py")
PART_BYTES = 45 << 20
ORT = [f"ort.{name}.bundle.min.mjs" for name in ("webgpu", "jspi")] + [
    f"ort-wasm-simd-threaded.{name}.{ext}"
    for name in ("asyncify", "jspi")
    for ext in ("mjs", "wasm")
]
# folder in the kit: (folder in node_modules, files or None for all)
VENDOR = {
    "wllama": ("@wllama/wllama/esm", ("index.js", "wasm/wllama.wasm")),
    "transformers": ("@huggingface/transformers/dist", ("transformers.web.js",)),
    "ort": ("onnxruntime-web/dist", ORT),
    "ort-common": ("onnxruntime-common/dist/esm", None),
}
# What export_onnx.py needs: big, so in an environment of its own that only --make-onnx makes.
ONNX_PACKAGES = (
    "onnxruntime-genai==0.18.0",
    "onnxruntime==1.32.0",
    "onnx==1.23.2",
    "onnx_ir==1.1.0",
    "transformers==5.23.0",
    "torch==2.15.0",
    "safetensors==0.8.0",
    "numpy==2.4.6",
)


def onnx_folder():
    """Where the ONNX export is kept: by the GGUF's digest and the recipe."""
    model = next(m for m in settings.MODELS if m.id == MODEL)
    recipe = (SOURCES / "export_onnx.py").read_bytes() + repr(ONNX_PACKAGES).encode()
    digest = hashlib.sha256(model.sha256.encode() + recipe).hexdigest()[:16]
    return settings.cache_dir() / "onnx" / digest / MODEL


def make_onnx():
    """Exports the model for transformers.js; does nothing where that is done."""
    folder = onnx_folder()
    if (folder / "config.json").exists():
        step("the ONNX export is in the cache")
        return
    tools = settings.cache_dir() / "onnx-venv"
    stamp = tools / "jird.stamp"
    if not stamp.exists() or stamp.read_text() != repr(ONNX_PACKAGES):
        step("installing onnxruntime-genai's builder, with torch (3 GB)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(tools)], check=True)
        command = [str(venv.python(tools)), "-m", "pip", "install", "--quiet", *ONNX_PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(
                f"pip could not install the builder: {done.stderr.strip()[-400:]}",
                "Check the connection to the package index, or leave --make-onnx out.",
            )
        stamp.write_text(repr(ONNX_PACKAGES))
    step("exporting the model to ONNX")
    gguf = settings.DIST / "models" / MODEL / "model.gguf"
    command = [str(venv.python(tools)), str(SOURCES / "export_onnx.py"), str(gguf), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise BuildError(
            f"the export failed: {done.stderr.strip()[-400:]}",
            "Run tests/bench/export_onnx.py by hand to see more.",
        )


def peers():
    """Installs the peers; -> {peer: reason} of those that are not to be had."""
    absent = {}
    try:
        node.ensure_modules(SOURCES)
    except BuildError as error:
        absent = {"wllama": error.what, "transformers.js": error.what}
    if not (onnx_folder() / "config.json").exists():
        absent.setdefault("transformers.js", "no ONNX export: run build.py bench --make-onnx first")
    return absent


def pack(absent=None):
    """Writes the kit from dist/ and the peers; -> its folder."""
    absent = peers() if absent is None else absent
    kit = WORK / "kit"
    site.remove_scratch(WORK, "kit")
    kit.mkdir(parents=True)
    for name in RUNNER:
        shutil.copyfile(SOURCES / name, kit / name)
    shutil.copytree(SOURCES / "page", kit, dirs_exist_ok=True)
    link_tree(settings.DIST, kit / "site")
    if "wllama" not in absent:
        for name, (folder, files) in VENDOR.items():
            vendor(kit / "vendor" / name, MODULES / folder, files)
    if "transformers.js" not in absent:
        link_tree(onnx_folder(), kit / "onnx" / MODEL)
    (kit / "kit.json").write_text(json.dumps(description(kit, absent), indent=1) + "\n")
    step(f"{WORK.name}/{kit.name} is ready: {human_bytes(site.total_bytes(kit))}")
    return kit


def vendor(target, source, files):
    """Copies a peer's files, flat, or all its .js files where `files` is None."""
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.js")) if files is None else [source / f for f in files]:
        site.place(path, target / path.name)


def link_tree(source, target):
    """A copy of a folder that shares its files."""
    shutil.copytree(source, target, copy_function=site.place)


def description(kit, absent):
    """kit.json: what the pages are asked with, versions, commit, absent peers."""
    dtypes = sorted(path.stem.removeprefix("model_") for path in kit.glob("onnx/*/onnx/*.onnx"))
    versions = {}
    for name in ("@wllama/wllama", "@huggingface/transformers", "onnxruntime-web"):
        path = MODULES / name / "package.json"
        if path.exists():
            versions[name] = json.loads(path.read_text())["version"]
    query = {
        "gguf": f"/site/models/{MODEL}/model.gguf",
        "onnx": MODEL,
        "dtypes": ",".join(dtypes),
        "wllama_version": versions.get("@wllama/wllama", ""),
        "transformers_version": versions.get("@huggingface/transformers", ""),
    }
    return {
        "model": MODEL,
        "commit": commit(),
        "versions": versions,
        "absent": absent,
        "query": query,
    }


def commit():
    """Short id of the checkout's commit, with "+" for changes; "" outside git."""

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=settings.ROOT, capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


def split(kit, dtypes=None):
    """The kit as `.bench/parts/kit.tgz.aa`, .ab, ... of at most PART_BYTES, and join.sh.

    `dtypes`: only these ONNX exports go along (default: all).
    """
    parts = WORK / "parts"
    site.remove_scratch(WORK, "parts")
    parts.mkdir()

    def wanted(info):
        stem = Path(info.name).stem
        other = stem.startswith("model_") and stem.removeprefix("model_") not in (
            dtypes or [stem[6:]]
        )
        return None if info.name.endswith(".onnx") and other or "random/" in info.name else info

    whole = parts / "kit.tgz"
    with gzip.open(whole, "wb", compresslevel=6) as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(kit, "kit", filter=wanted)
    with open(whole, "rb") as f:
        for i in range(-(-whole.stat().st_size // PART_BYTES)):
            name = f"kit.tgz.{chr(97 + i // 26)}{chr(97 + i % 26)}"
            (parts / name).write_bytes(f.read(PART_BYTES))
    whole.unlink()
    join = (
        "#!/bin/sh\n# In the folder of the parts: unpacks the kit into the folder named, or here.\n"
    )
    (parts / "join.sh").write_text(
        join + 'cat "$(dirname "$0")"/kit.tgz.?? | tar xz -C "${1:-.}"\n'
    )
    names = sorted(path.name for path in parts.iterdir())
    step(f"{WORK.name}/{parts.name}: {', '.join(names)}")
    return parts


def run(arguments, name, out=None):
    """Packs the kit, runs it here with run.py's own arguments, and reports; -> exit status."""
    kit = pack()
    out = out or WORK / f"{name}.json"
    command = [sys.executable, str(kit / "run.py"), "--out", str(out), *arguments]
    if "--browser" not in arguments:
        command += ["--browser", here()]
    step("measuring; each figure is shown when it is found")
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode == 0:
        publish(out, name)
    return done.returncode


def here():
    """The command of this machine's Chromium: on its GPU, or on SwiftShader where it has none."""
    path = browsers.chromium()
    if path is None:
        raise BuildError(
            "There is no Chromium on this machine.",
            'Install one, or name a browser: --browser "CMD {url}".',
        )
    software = () if browsers.gpu_node() else browsers.CHROMIUM_ARGS
    own = [arg for arg in browsers.CHROMIUM_ARGS if "swiftshader" not in arg]
    return " ".join(
        [
            path,
            "--headless=new",
            *(software or own),
            "--disable-dev-shm-usage",
            "--user-data-dir={profile}",
            "{url}",
        ]
    )


def publish(source, name):
    """A run's JSON into docs/bench, its plots beside it, its tables into docs/performance.md."""
    from tests.bench import report

    result = json.loads(Path(source).read_text())
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    images = plots(RESULTS / f"{name}.json", name)
    page = report.replace(PAGE.read_text(), name, report.section(result, name, images))
    PAGE.write_text(page)
    step(f"wrote docs/bench/{name}.json and its part of docs/performance.md")


def plots(source, name):
    """Names of the plots that were drawn; matplotlib is installed for them, and may be absent."""
    try:
        venv.ensure("bench")
    except BuildError as error:
        step(f"no plots: {error.what}")
        return []
    command = [str(venv.python()), str(SOURCES / "plots.py"), str(source), str(RESULTS), name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        step(f"no plots: {done.stderr.strip()[-300:]}")
    return done.stdout.split()


def command(o, rest):
    """`build.py bench`: what its options ask for; -> exit status."""
    if o.report:
        publish(o.report, o.name)
        return 0
    with site.build_lock():
        site_ready = (settings.DIST / "version.json").exists()
    if not site_ready or not o.keep_dist:
        site.build()
    if o.profile:
        browser = [] if "--browser" in rest else ["--browser", here()]
        speed = [sys.executable, str(SOURCES / "speed.py"), "--profile", *browser, *rest]
        return subprocess.run(speed).returncode
    if o.make_onnx:
        make_onnx()
    if o.pack:
        split(pack(), o.dtype)
        return 0
    return run(rest, o.name)
