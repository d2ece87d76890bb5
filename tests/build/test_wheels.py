"""Wheels that the build makes: the same bytes each time, well formed, and with the right parts."""
import csv
import io
import json
import os
import sys
import zipfile

import pytest

from app.build import settings, wheels
from app.build.console import BuildError

FILES = {"pkg/__init__.py": b"x = 1\n", "pkg/data.json": b"{}" * 769}


def test_same_files_same_bytes_whatever_the_order_clock_and_umask(tmp_path, monkeypatch):
    first = wheels.write_wheel(tmp_path / "a.whl", "pkg", "1", FILES, ("jinja2",))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    old = os.umask(0o077)
    try:
        turned = dict(reversed(FILES.items()))
        second = wheels.write_wheel(tmp_path / "b.whl", "pkg", "1", turned, ("jinja2",))
    finally:
        os.umask(old)
    assert first == second
    assert (tmp_path / "a.whl").read_bytes() == (tmp_path / "b.whl").read_bytes()
    assert wheels.write_wheel(tmp_path / "c.whl", "pkg", "1", FILES) != first


def test_record_lists_every_file_with_its_hash(tmp_path):
    wheels.write_wheel(tmp_path / "a.whl", "pkg", "1", FILES, license_file=b"free")
    with zipfile.ZipFile(tmp_path / "a.whl") as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.open("pkg-1.dist-info/RECORD"))))
        assert sorted(row[0] for row in rows) == sorted(archive.namelist())
        sizes = {row[0]: row[2] for row in rows if row[2]}
        assert all(int(n) == archive.getinfo(name).file_size for name, n in sizes.items())
        assert b"Version: 1\n" in archive.read("pkg-1.dist-info/METADATA")


def test_markupsafe_is_pure_and_has_the_pinned_hash(tmp_path):
    path = wheels.markupsafe_wheel(tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert "markupsafe/_native.py" in names
    assert not [name for name in names if name.endswith((".so", ".c", ".pyd"))]


def test_markupsafe_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "MARKUPSAFE_VERSION", "0.1")
    with pytest.raises(BuildError, match="wanted 0.1"):
        wheels.markupsafe_wheel(tmp_path)


def test_pure_markupsafe_escapes_without_the_compiled_half(tmp_path):
    import subprocess
    path = wheels.markupsafe_wheel(tmp_path)
    code = "from markupsafe import escape; print(escape('<a & \"b\">'))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True,
                          env={"PYTHONPATH": str(path)})
    assert done.stdout.strip() == "&lt;a &amp; &#34;b&#34;&gt;", done.stderr


def test_jird_wheel_has_both_packages_and_the_kernels_but_not_the_build(tmp_path):
    path = wheels.jird_wheel(tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        rendered = json.loads(archive.read(wheels.RENDERED))
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert {"pyengine/errors.py", "app/__init__.py", wheels.RENDERED} <= names
    assert not [n for n in names if n.startswith("app/build/") or "__pycache__" in n]
    assert "Requires-Dist" not in metadata  # numpy and jinja2 come when they are needed
    kernels = {key: text for key, text in rendered.items() if not key.startswith("common/")}
    assert kernels and all("@compute" in text for text in kernels.values())
    folders = {n.rsplit("/", 1)[0] for n in names if n.endswith(".py")}
    assert all(f"{folder}/__init__.py" in names for folder in folders)
    assert wheels.jird_wheel(tmp_path / "..").read_bytes() == path.read_bytes()
    (tmp_path / ".." / path.name).unlink()
