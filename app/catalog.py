"""Which models there are: the site's own index, and the offers of `catalog_data` with their
verdicts. What else a person may name, pwa_shell/js/storage/hub.js resolves."""

from dataclasses import dataclass

from app import catalog_data
from pyengine.errors import EngineError

DEFAULT_MODEL = "smollm2-135m-instruct"
# Asked for, Safari on iOS gives up to 1 GB (WebKit PR 49472) and desktop browsers 2 GB or more.
TYPICAL_BUFFER = 1 << 30


@dataclass(frozen=True)
class ModelEntry:
    """A model that this site serves."""

    id: str
    name: str
    license: str = ""
    nbytes: int = 0


def parse_index(index):
    """`models/index.json` (dict) -> {id: ModelEntry}. Raises E_BAD_FILE when it does not have its
    form."""
    entries = {}
    try:
        for row in index["models"]:
            nbytes = int(row.get("bytes") or sum(f.get("bytes", 0) for f in row["files"]))
            entries[row["id"]] = ModelEntry(
                row["id"], row.get("name", row["id"]), row.get("license", ""), nbytes
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            "E_BAD_FILE",
            file="models/index.json",
            format="model index",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    return entries


def is_plain(model):
    """Whether `model` can only be an id: neither a hub's `org/name` nor an address."""
    return "/" not in model


def source_of(model, entries):
    """What the storage takes for `model`: None is the default, an id that this site does not serve
    its offer's hub name; anything else is taken as it is. Raises E_BAD_REQUEST."""
    if model is None:
        model = DEFAULT_MODEL
    if not isinstance(model, str) or not model:
        raise EngineError(
            "E_BAD_REQUEST", param="model", got=repr(model), wanted="a model id or a URL"
        )
    if model in entries:
        return model
    offer = next((offer for offer in offered() if offer.id == model), None)
    return hub_name(offer) if offer and offer.source == catalog_data.HUB else model


def unknown(model, entries):
    """E_BAD_REQUEST that names the known ids."""
    known = ", ".join(dict.fromkeys((*entries, *(offer.id for offer in offered()))))
    return EngineError(
        "E_BAD_REQUEST",
        param="model",
        got=f"'{model}'",
        wanted=f"a known id ({known}), a stored model, org/name of a hub, or a URL",
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
    `pyengine.budget.budget_of`; None: an iPad's) on a device with `caps` (None: buffers as current
    browsers offer them), before any download.

    `bytes` is what the download takes, `approximate` says that it is a rounded figure, `fit` is
    `Fit.to_dict()`. A `context` above a model's own becomes that model's own. `source.model` is
    what the storage takes: an id of this site, or a hub name.
    """
    return [row(offer, caps, budget, context=context, kv=kv) for offer in offered()]


def row(offer, caps=None, budget=None, *, context=None, kv="f16"):
    """One of `rows`."""
    from pyengine.budget import budget_of
    from pyengine.fit import fit
    from pyengine.kernels.spec import Caps

    verdict = fit(
        offer.config,
        budget=budget_of("ipad") if budget is None else budget,
        quant=offer.quant,
        context=min(context, offer.context) if context else None,
        kv=kv,
        caps=caps or Caps(max_binding=TYPICAL_BUFFER, max_buffer=TYPICAL_BUFFER),
        encodings=offer.encodings,
    )
    return {**_row(offer), "fit": verdict.to_dict()}


def hub_name(offer):
    """`org/name`, `org/name@revision`, each with `:file.gguf` after it where that is the model."""
    revision = "" if offer.revision == "main" else f"@{offer.revision}"
    return offer.repo + revision + (f":{offer.files[0][0]}" if len(offer.files) == 1 else "")


def _row(offer):
    """What is known of an offer without planning it."""
    source = {"kind": offer.source, "model": offer.id}
    if offer.source == catalog_data.HUB:
        only = offer.files[0][0] if len(offer.files) == 1 else None
        source["model"] = hub_name(offer)
        source |= {"repo": offer.repo, "revision": offer.revision, "file": only}
    return {
        "id": offer.id,
        "name": offer.name,
        "family": offer.family,
        "license": offer.license,
        "quant": offer.quantisation,
        "context": offer.context,
        "modalities": list(offer.modalities),
        "bytes": offer.bytes_approx if offer.nbytes is None else offer.nbytes,
        "approximate": offer.nbytes is None,
        "source": source,
        "files": [{"name": name, "required": required} for name, required in offer.files],
    }
