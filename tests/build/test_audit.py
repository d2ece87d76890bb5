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


def faulty(report):
    """Names of packages with an advisory in pip-audit's report; skips where it could not judge all:
    it ends well, too, where its service answers nothing."""
    found = [one["name"] for one in report["dependencies"] if one.get("vulns")]
    unknown = [one["name"] for one in report["dependencies"] if "skip_reason" in one]
    if unknown and not found:
        pytest.skip(f"pip-audit could not judge {len(unknown)} packages: {', '.join(unknown)[:120]}")
    return found


@pytest.mark.parametrize("lock", PYTHON, ids=names(PYTHON))
def test_pip_audit_knows_no_fault(lock):
    if subprocess.run([sys.executable, "-m", "pip_audit", "--version"], capture_output=True).returncode:
        pytest.skip("pip-audit is not installed in this environment")
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-f", "json",
               "-r", str(lock)]
    assert faulty(asked(command, settings.ROOT)) == []


def pins(lock):
    """{name: its text in the lock} of a lock file's packages."""
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    rows = [line for line in lines if line.strip() and not line.startswith((" ", "#"))]
    return {row.split("==")[0]: row for row in rows}


@pytest.mark.parametrize("lock", PYTHON, ids=names(PYTHON))
def test_every_pin_has_one_version_and_its_hashes(lock):
    found = pins(lock)
    assert found
    for name, row in found.items():
        assert row.count("==") >= 1 and row.count("--hash=sha256:") >= 1, name


def withdrawn(done):
    """What pip said of pins that are gone or yanked; skips where it could not ask."""
    if done.returncode and ("connection broken" in done.stderr or "Could not fetch" in done.stderr):
        pytest.skip(f"pip could not ask: {done.stderr.strip()[-200:]}")
    told = [line for line in done.stderr.splitlines() if "yanked version" in line]
    return told + [done.stderr.strip()[-500:]] * bool(done.returncode)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("lock", PYTHON, ids=names(PYTHON))
def test_every_pin_is_still_offered_with_its_hash_and_not_yanked(lock):
    """Authors and the index withdraw what is found to be harmful; a changed file has another hash."""
    if settings.offline():
        pytest.skip("JIRD_OFFLINE is set: the index cannot be asked")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
               "--require-hashes", "--only-binary", ":all:", "--quiet", "-r", str(lock)]
    assert withdrawn(subprocess.run(command, capture_output=True, text=True)) == []


def test_a_serious_fault_would_be_told():
    report = {"vulnerabilities": {"a": {"severity": "high"}, "b": {"severity": "low"}}}
    assert serious(report) == ["a"]
    with pytest.raises(pytest.skip.Exception, match="405"):
        serious({"message": "405 Method Not Allowed"})


def test_a_faulty_or_withdrawn_package_would_be_told():
    vulns = [{"name": "a", "vulns": [{"id": "X-1"}]}, {"name": "b", "vulns": []}]
    assert faulty({"dependencies": vulns}) == ["a"] and faulty({"dependencies": vulns[1:]}) == []
    unknown = {"name": "c", "skip_reason": "not found"}
    assert faulty({"dependencies": [*vulns, unknown]}) == ["a"]
    with pytest.raises(pytest.skip.Exception, match="1 packages: c"):
        faulty({"dependencies": [vulns[1], unknown]})

    def said(code, text):
        return withdrawn(subprocess.CompletedProcess([], code, "", text))

    assert said(0, "") == [] and said(1, "ERROR: No matching distribution") != []
    assert said(0, "WARNING: The candidate selected for download or install is a yanked version: 'a'") != []
    with pytest.raises(pytest.skip.Exception, match="could not ask"):
        said(1, "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching")
