"""Which models there are and where their files lie: the site's own index, same-origin URLs, and the
offers of `catalog_data` with their verdicts."""

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from app import catalog_data, hub
from app.folder import (  # noqa: F401  the loader's names for them
    FOLDER_INDEX,
    FOLDER_OPTIONAL,
    FOLDER_REQUIRED,
    FOLDER_WEIGHTS,
    shards_of,
)
from pyengine.errors import EngineError

DEFAULT_MODEL = "smollm2-135m-instruct"
# Asked for, Safari on iOS gives up to 1 GB (WebKit PR 49472) and desktop browsers 2 GB or more.
TYPICAL_BUFFER = 1 << 30


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


def as_json(entries):
    """The catalogue as JSON-able rows, for pickers."""
    return [
        {"id": e.id, "name": e.name, "license": e.license, "bytes": e.nbytes}
        for e in entries.values()
    ]


def offered(known=None):
    """The offers of `catalog_data` whose family the engine has; `known` are its model types."""
    from pyengine import models

    known = models.families() if known is None else known
    return [offer for offer in catalog_data.OFFERS if offer.config["model_type"] in known]


def rows(caps=None, budget=None, *, context=None, kv="f16"):
    """One JSON-able row per offered model, with the verdict for `budget` bytes of GPU memory (see
    `pyengine.fit.budget_of`; None: an iPad's) on a device with `caps` (None: buffers as current
    browsers offer them), before any download.

    `bytes` is what the download takes, `approximate` says that it is a rounded figure, `fit` is
    `Fit.to_dict()`. A `context` above a model's own becomes that model's own. `source.model` is
    what the storage takes: an id of this site, or a hub name.
    """
    from pyengine.fit import budget_of, fit
    from pyengine.kernels.spec import Caps

    caps = caps or Caps(max_binding=TYPICAL_BUFFER, max_buffer=TYPICAL_BUFFER)
    budget = budget_of("ipad") if budget is None else budget
    found = []
    for offer in offered():
        most = min(context, offer.context) if context else None
        verdict = fit(
            offer.config,
            budget=budget,
            quant=offer.quant,
            context=most,
            kv=kv,
            caps=caps,
            encodings=offer.encodings,
        )
        found.append({**_row(offer), "fit": verdict.to_dict()})
    return found


def _row(offer):
    """What is known of an offer without planning it."""
    source = {"kind": offer.source, "model": offer.id}
    if offer.source == catalog_data.HUB:
        only = offer.files[0][0] if len(offer.files) == 1 else None
        source["model"] = hub.HubModel(offer.repo, offer.revision, only).id
        source |= {"repo": offer.repo, "revision": offer.revision, "file": only}
    return {
        "id": offer.id,
        "name": offer.name,
        "family": offer.family,
        "license": offer.license,
        "quantisation": offer.quantisation,
        "context": offer.context,
        "modalities": list(offer.modalities),
        "bytes": offer.bytes_approx if offer.nbytes is None else offer.nbytes,
        "approximate": offer.nbytes is None,
        "source": source,
        "files": [{"name": name, "required": required} for name, required in offer.files],
    }
