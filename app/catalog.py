"""Which models there are and where their files lie: the site's own index, and same-origin URLs."""

import json
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from pyengine.errors import EngineError

DEFAULT_MODEL = "smollm2-135m-instruct"

# A Hugging Face-style folder, asked for file by file, since a static host lists nothing.
FOLDER_REQUIRED = ("config.json",)
FOLDER_OPTIONAL = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
FOLDER_INDEX = "model.safetensors.index.json"
FOLDER_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModelEntry:
    """A model and its files: {file name: absolute URL}; a `folder` is completed by reading it."""

    id: str
    name: str
    files: dict
    license: str = ""
    nbytes: int = 0
    folder: str | None = None


def parse_index(index, base_url):
    """`models/index.json` (dict) -> {id: ModelEntry}; `base_url` is the folder that holds it,
    ending in `/`.

    Raises E_BAD_FILE when the index does not have its form.
    """
    entries = {}
    try:
        for row in index["models"]:
            files = {
                f["name"]: f"{base_url}{quote(row['id'])}/{quote(f['name'])}" for f in row["files"]
            }
            nbytes = int(row.get("bytes") or sum(f.get("bytes", 0) for f in row["files"]))
            entries[row["id"]] = ModelEntry(
                row["id"], row.get("name", row["id"]), files, row.get("license", ""), nbytes
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            "E_BAD_FILE",
            file="models/index.json",
            format="model index",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    return entries


def is_url(model):
    """Whether `model` is a URL or a path rather than a catalogue id."""
    return "://" in model or model.startswith(("/", "./", "../"))


def resolve(model, entries, site_url):
    """The ModelEntry of `model`: None is the default, else an id of `entries` or a same-origin URL.

    `site_url` is the app's absolute URL. Raises E_BAD_REQUEST naming the known ids.
    """
    if model is None:
        model = DEFAULT_MODEL
    if not isinstance(model, str) or not model:
        raise EngineError(
            "E_BAD_REQUEST", param="model", got=repr(model), wanted="a model id or a URL"
        )
    if model in entries:
        return entries[model]
    if not is_url(model):
        known = ", ".join(sorted(entries)) or "none on this site"
        raise EngineError(
            "E_BAD_REQUEST",
            param="model",
            got=f"'{model}'",
            wanted=f"a known id ({known}) or a URL of this site",
        )
    return _from_url(model, site_url)


def _from_url(model, site_url):
    url, site = urlsplit(model), urlsplit(site_url)
    if (url.scheme, url.netloc) != (site.scheme, site.netloc):
        raise EngineError(
            "E_BAD_REQUEST",
            param="model",
            got=f"'{model}'",
            wanted=f"a URL of this site ({site.scheme}://{site.netloc})",
        )
    name = unquote(url.path.rstrip("/").rsplit("/", 1)[-1])
    if url.path.endswith("/"):
        return ModelEntry(model, name, {}, folder=model)
    if url.path.lower().endswith(".gguf"):
        return ModelEntry(model, name, {name: model})
    raise EngineError(
        "E_BAD_REQUEST",
        param="model",
        got=f"'{model}'",
        wanted="a URL that ends in .gguf, or in / for a folder",
    )


def shards_of(data):
    """The shard names of a `model.safetensors.index.json` (bytes). Raises E_BAD_FILE."""
    try:
        names = sorted(set(json.loads(data)["weight_map"].values()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            "E_BAD_FILE",
            file=FOLDER_INDEX,
            format="safetensors index",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    for name in names:
        if not isinstance(name, str) or "/" in name:
            raise EngineError(
                "E_BAD_FILE",
                file=FOLDER_INDEX,
                format="safetensors index",
                detail=f"{name!r} is not a file name",
            )
    return names


def as_json(entries):
    """The catalogue as JSON-able rows, for pickers."""
    return [
        {"id": e.id, "name": e.name, "license": e.license, "bytes": e.nbytes}
        for e in entries.values()
    ]
