"""Names and addresses of the Hugging Face hub -> the URLs of a model's files. Pure: no request.

A repository is either a folder (config.json, tokenizer, safetensors) or GGUF files, of which one
is a whole model. What only the repository knows, its shards, comes from its index: `weight_files`.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from app import folder
from pyengine.errors import EngineError

HUB = "https://huggingface.co/"
MAIN = "main"
KINDS = ("tree", "resolve", "blob", "raw")

# The hub's own rule: letters, digits, '-', '_', '.', no run or edge of '.' and '-', 96 characters.
_PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9](?:[A-Za-z0-9._/+-]{0,254}[A-Za-z0-9])?")
_WANTED = "org/name, org/name@revision, or the address of a repository, a folder or a .gguf in it"


@dataclass(frozen=True)
class HubModel:
    """A repository at a revision; `file` is a path in it (of a .gguf), or None for a folder."""

    repo: str
    revision: str = MAIN
    file: str | None = None

    @property
    def id(self):
        """One text for one model: `org/name`, `org/name@rev`, `org/name@rev:file.gguf`."""
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return self.repo + revision + (f":{self.file}" if self.file else "")


@dataclass(frozen=True)
class HubFile:
    """A file to fetch. Where an optional one is missing (404), the model does without it."""

    name: str
    url: str
    required: bool


def is_hub(text, base=HUB):
    """Whether `text` can only mean the hub: `org/name`, or an address there."""
    if not isinstance(text, str):
        return False
    if "://" in text:
        return _origin(text) == _origin(base)
    return "/" in text and not text.startswith(("/", "."))


def parse(text, base=HUB):
    """The HubModel of a repository's name or address. Raises E_BAD_REQUEST."""
    if not isinstance(text, str) or not text.strip():
        raise _bad(text)
    text = text.strip()
    model = _of_address(text, base) if "://" in text else _of_name(text)
    parts = model.repo.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
        raise _bad(text)
    if not _REVISION.fullmatch(model.revision):
        raise _bad(text)
    if model.file is not None and not _is_gguf_path(model.file):
        raise _bad(text)
    return model


def files(model, base=HUB):
    """The HubFiles to ask for first, in this order: a GGUF alone, or a folder's texts and index.

    A folder's weights follow: `weight_files` once the index has come or is known to be missing.
    """
    if model.file:
        return [_file(model, model.file, True, base)]
    required = [_file(model, name, True, base) for name in folder.FOLDER_REQUIRED]
    optional = (*folder.FOLDER_OPTIONAL, folder.FOLDER_INDEX)
    return required + [_file(model, name, False, base) for name in optional]


def weight_files(model, index=None, base=HUB):
    """The HubFiles of a folder's weights: one file without an index, else the shards that `index`
    (the bytes of model.safetensors.index.json) names. Raises E_BAD_FILE.
    """
    if model.file:
        return []
    names = [folder.FOLDER_WEIGHTS] if index is None else folder.shards_of(index)
    return [_file(model, name, True, base) for name in names]


def url_of(model, name, base=HUB):
    """The address that gives a file's bytes."""
    revision = quote(model.revision, safe="")
    return f"{base.rstrip('/')}/{model.repo}/resolve/{revision}/{quote(name)}"


def _file(model, name, required, base):
    return HubFile(name, url_of(model, name, base), required)


def _of_name(text):
    """`org/name`, `org/name@rev`, each with `:file.gguf` after it."""
    name, _, file = text.partition(":")
    repo, at, revision = name.partition("@")
    if (at and not revision) or (":" in text and not file):
        raise _bad(text)
    return HubModel(repo, revision or MAIN, file or None)


def _of_address(text, base):
    """`<base>org/name[/tree|resolve|blob|raw/<rev>[/<path>]]`, without query and fragment."""
    if _origin(text) != _origin(base):
        raise _bad(text)
    root, path = urlsplit(base).path.rstrip("/"), urlsplit(text).path
    if not path.startswith(root + "/"):
        raise _bad(text)
    parts = [unquote(part) for part in path[len(root) :].split("/") if part]
    repo, rest = "/".join(parts[:2]), parts[2:]
    if not rest:
        return HubModel(repo)
    if rest[0] not in KINDS or len(rest) == 1:
        raise _bad(text)
    file = "/".join(rest[2:]) or None
    # The address of any other file of a folder means the folder: people copy what they look at.
    if file and rest[0] != "tree" and "/" not in file and not file.lower().endswith(".gguf"):
        file = None
    return HubModel(repo, rest[1], file)


def _origin(text):
    try:
        url = urlsplit(text)
        return url.scheme.lower(), (url.hostname or "").lower(), url.port
    except ValueError:
        return None


def _is_gguf_path(path):
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    return plain and path.isprintable() and path.lower().endswith(".gguf")


def _bad(text):
    return EngineError("E_BAD_REQUEST", param="model", got=repr(text)[:120], wanted=_WANTED)
