"""The layout of docs/architecture.md, as rules: who may import whom, what has a test, how long
things get."""
import ast
import re
from pathlib import Path

import pytest

from pyengine import kernels, models
from pyengine.errors import MESSAGES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("pyengine/**/*.py"), *ROOT.glob("app/**/*.py"), ROOT / "build.py"])
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
TREES = {name: ast.parse(path.read_text()) for name, path in zip(NAMES, SOURCES)}
MAX_LINES, MAX_FUNCTION, MAX_COLUMNS = 400, 40, 100


def imports(name):
    """Dotted names that a file imports, at any depth: modules, and what is taken from them."""
    found, package = set(), name.removesuffix(".py").split("/")
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:-node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def under(name, *packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


def offenders(folder, *forbidden, but=()):
    """["file imports module"] of the files under `folder` that import one of `forbidden`."""
    return [
        f"{name} imports {module}"
        for name in NAMES
        if name.startswith(folder) and name not in but
        for module in sorted(imports(name))
        if under(module, *forbidden)
    ]


def pyengine(*parts):
    return [f"pyengine.{part}" for part in parts]


LINE_TO_DEVICE = pyengine("compile", "models", "passes", "plan", "device", "kernels")
RULES = {
    "pyengine never imports app": offenders("pyengine/", "app", "tests"),
    "only device/web.py imports js": offenders(
        "", "js", "pyodide", "_pyodide", but=("pyengine/device/web.py",)
    ),
    "numpy comes through pyengine.lazy": offenders("pyengine/", "numpy", but=("pyengine/lazy.py",)),
    "wgpu is the native device's": offenders("", "wgpu", but=("pyengine/device/native.py",)),
    **{
        f"{part} imports no device": offenders(
            f"pyengine/{part}/", "pyengine.device", "pyengine.plan"
        )
        for part in ("formats", "quant", "text", "ir", "passes", "kernels")
    },
    "only engine.py joins the two lines: decode": offenders(
        "pyengine/decode/", *LINE_TO_DEVICE, *pyengine("text")
    ),
    "only engine.py joins the two lines: text": offenders(
        "pyengine/text/", *LINE_TO_DEVICE, *pyengine("decode")
    ),
    "nothing of the engine imports engine.py": offenders("pyengine/", "pyengine.engine"),
    **{
        f"{part} imports no text": offenders(f"pyengine/{part}", "pyengine.text")
        for part in (
            "formats/",
            "quant/",
            "ir/",
            "models/",
            "passes/",
            "plan/",
            "kernels/",
            "device/",
            "compile.py",
        )
    },
}


@pytest.mark.parametrize("rule", RULES)
def test_import_directions(rule):
    assert RULES[rule] == []


def test_what_models_import():
    allowed = pyengine("ir", "quant", "models", "errors", "formats.hf_config", "lazy")
    found = {
        f"{name} imports {module}"
        for name in NAMES
        if name.startswith("pyengine/models/")
        for module in imports(name)
        if under(module, "pyengine", "app") and not under(module, *allowed)
    }
    assert found - {f"{name} imports pyengine.formats" for name in NAMES} == set()


def test_the_checks_see_imports(monkeypatch):
    monkeypatch.setitem(
        TREES,
        "pyengine/ir/x.py",
        ast.parse(
            "def f():\n    from ..device import api\n    import js.window\n    from pyengine import plan"
        ),
    )
    assert {"pyengine.device", "pyengine.device.api", "js.window", "pyengine.plan"} <= imports(
        "pyengine/ir/x.py"
    )


def test_only_flags_reads_the_environment():
    readers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    }
    assert {name for name in readers if name.startswith("pyengine/")} == {"pyengine/flags.py"}
    assert {name for name in readers if not name.startswith(("pyengine/", "app/build/"))} <= {
        "build.py"
    }


# ---- tests ---------------------------------------------------------------------------------------


def test_each_model_family_has_its_test():
    families = {module.__name__.rpartition(".")[2] for module in models.families().values()}
    assert families and all(
        (ROOT / f"tests/models/test_{family}.py").is_file() for family in families
    )


def test_each_kernel_has_its_test():
    stems = {path.stem for path in (ROOT / "wgsl").glob("*.wgsl")}
    assert stems == {stem for stem, _ in kernels.every_template() if not stem.startswith("common/")}
    tests = "\n".join(path.read_text() for folder in ("kernels", "device")
                      for path in sorted((ROOT / "tests" / folder).glob("*.py")))
    ops = {spec.op for spec in kernels.SPECS} | {"repack"}
    assert sorted(op for op in ops if not re.search(rf"\b{op}\b", tests)) == []


def test_each_op_has_a_kernel_and_each_kernel_an_op():
    from pyengine import compile  # noqa: F401  registers every op
    from pyengine.ir.ops import OPS
    assert {spec.op for spec in kernels.SPECS} == set(OPS)


# ---- size ----------------------------------------------------------------------------------------


def test_files_are_short():
    found = {name: len(path.read_text().splitlines()) for name, path in zip(NAMES, SOURCES)}
    assert {name: n for name, n in found.items() if n > MAX_LINES} == {}


def test_functions_are_short():
    found = {f"{name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
             for name, tree in TREES.items() for node in ast.walk(tree)
             if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert {where: n for where, n in found.items() if n > MAX_FUNCTION} == {}


def test_lines_are_short():
    found = [
        f"{name}:{number}"
        for name, path in zip(NAMES, SOURCES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert found == []


# ---- text ----------------------------------------------------------------------------------------

# in halves, so that this file does not hold what it looks for
REGISTRIES = [
    a + "." + b
    for a, b in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("npmmirror", "com"),
        ("crates", "io"),
        ("artifactory", ""),
        ("jfrog", "io"),
    )
]
TEXTS = {
    ".py",
    ".js",
    ".mjs",
    ".json",
    ".lock",
    ".md",
    ".html",
    ".css",
    ".toml",
    ".wgsl",
    ".yml",
    ".txt",
    ".in",
}
SKIPPED = {"node_modules", "dist", "__pycache__", "goldens", "test-results"}


def texts():
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(p in SKIPPED or p.startswith(".") and p != ".ci" for p in parts)
        if not hidden and path.is_file() and (path.suffix in TEXTS or not path.suffix):
            yield path.relative_to(ROOT).as_posix(), path.read_text(errors="replace")


def test_no_registry_is_named():
    found = [f"{name}: {host}" for name, text in texts() for host in REGISTRIES if host in text]
    assert found == []


def test_every_error_code_in_use_is_in_the_table():
    used = {
        code: name
        for name, text in texts()
        if name.startswith(("pyengine/", "app/", "pwa_shell/"))
        for code in re.findall(r"[\"'](E_[A-Z_]+)[\"']", text)
    }
    assert {code: name for code, name in used.items() if code not in MESSAGES} == {}
    assert len(used) > 15
