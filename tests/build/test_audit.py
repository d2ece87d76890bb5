"""The dependencies: what is installed is what the locks name, and no known fault is in it. The
second needs the registries' advisories; where they cannot be asked, the test says why it skips."""
import json
import shutil
import subprocess
import sys

import pytest

from app.build import node, settings

FOLDERS = [settings.SHELL, settings.OPENAI, *(settings.ROOT / "tests" / name for name in ("bench", "kernels"))]
PYTHON = sorted((settings.ROOT / "app/build").glob("*.lock"))
SERIOUS = ("high", "critical")


def names(paths):
    return [path.relative_to(settings.ROOT).as_posix() for path in paths]


def asked(command, folder):
    """The JSON that an auditor prints; skips where it cannot ask."""
    if settings.offline():
        pytest.skip("JIRD_OFFLINE is set: advisories cannot be asked for")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} had no answer in 60 s")
    except ValueError:
        pytest.skip(f"{command[0]} could not ask: {done.stderr.strip()[-200:]}")


def serious(report):
    """Names of packages with a serious advisory in npm's report; skips where it has none."""
    if "vulnerabilities" not in report:
        pytest.skip(f"npm could not ask: {str(report.get('message'))[:120]}")
    return sorted(name for name, found in report["vulnerabilities"].items()
                  if found["severity"] in SERIOUS)


@pytest.mark.parametrize("folder", FOLDERS, ids=names(FOLDERS))
def test_what_is_installed_is_what_the_lock_names(folder):
    installed = folder / "node_modules/.package-lock.json"
    if not installed.exists():
        pytest.skip("not installed here")
    wanted = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = json.loads(installed.read_text())["packages"]
    assert found
    for name, spec in found.items():
        assert spec["version"] == wanted[name]["version"], name
        assert spec["integrity"] == wanted[name]["integrity"], name


def test_what_is_shipped_comes_from_the_lock():
    packages = json.loads((settings.SHELL / "package-lock.json").read_text())["packages"]
    for _, package, _ in node.VENDOR.values():
        assert packages[f"node_modules/{package}"]["integrity"].startswith("sha512-")


@pytest.mark.parametrize("folder", FOLDERS, ids=names(FOLDERS))
def test_npm_knows_no_serious_fault(folder):
    npm = shutil.which("npm") or pytest.skip("npm is not installed")
    assert serious(asked([npm, "audit", "--package-lock-only", "--json"], folder)) == []


@pytest.mark.parametrize("lock", PYTHON, ids=names(PYTHON))
def test_pip_audit_knows_no_fault(lock):
    if subprocess.run([sys.executable, "-m", "pip_audit", "--version"], capture_output=True).returncode:
        pytest.skip("pip-audit is not installed in this environment")
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-f", "json",
               "-r", str(lock)]
    report = asked(command, settings.ROOT)
    assert [one["name"] for one in report["dependencies"] if one.get("vulns")] == []


def test_a_serious_fault_would_be_told():
    report = {"vulnerabilities": {"a": {"severity": "high"}, "b": {"severity": "low"}}}
    assert serious(report) == ["a"]
    with pytest.raises(pytest.skip.Exception, match="405"):
        serious({"message": "405 Method Not Allowed"})
