"""selftest.json: what a page compiles of the self-test while Python boots (js/selftest_ahead.js).

It holds the shaders of the chains, of the features and of every tiny model's stored plans, each
text once, and what tells which of them a start will ask for."""
import json

from app import catalog, catalog_data
from pyengine import selftest, selftest_kernels
from pyengine.caps import GAINS, Caps
from pyengine.formats.gguf_names import ARCHS
from pyengine.kernels import source
from pyengine.models import families


def table(plans, rendered):
    """The file's content. `plans`: {name: bytes of `selftest_kernels.plans`}, `rendered`: every
    template."""
    # a shader as a stored plan has it, JSON of [[head, key of a text, ...], access]: its number
    numbers = {}

    def number(text, access):
        return numbers.setdefault(json.dumps([text, access]), len(numbers))

    probes = {label: number([code], ["read_write"] * 2)
              for label, code in selftest.pipelines(Caps(f16=True, subgroups=True))}
    models = {name: _numbered(selftest_kernels.unpacked(data)["plans"], number)
              for name, data in plans.items()}
    shaders = [json.loads(row) for row in numbers]
    used = {key for (_, *keys), _ in shaders for key in keys}
    return {
        "key": selftest.key_start(source.version_of(rendered)),
        "gains": GAINS,
        "offers": dict(_offers()),
        "types": dict(_types()),
        "probes": probes,
        "models": models,
        "shaders": shaders,
        "texts": {key: rendered[key] for key in sorted(used)},
    }


def _numbered(plans, number):
    """{"<whether f16>,<size of subgroups or 0>": numbers of the plan's shaders}."""
    return {f"{int(f16)},{size}": [number(text, access) for _, text, access
                                   in json.loads(plans[str(caps)])["pipelines"]]
            for f16, size, caps in selftest_kernels.built_for()}


def _offers():
    """(what a person names a model of the catalogue by, the tiny model of its family)."""
    for offer in catalog_data.OFFERS:
        quantised = {"quantization": {}} if offer.quant == catalog_data.MLX4 else {}
        like = selftest_kernels.like({**offer.config, **quantised})
        yield offer.id, like
        if offer.source == catalog_data.HUB:
            yield catalog.hub_name(offer), like


def _types():
    """(model_type of a config or architecture of a GGUF file, family of tiny models)."""
    named = {**{name: name for name in families()},
             **{name: arch.model_type for name, arch in ARCHS.items()}}
    for name, model_type in named.items():
        yield name, selftest_kernels.like({"model_type": model_type}).rpartition("-")[0]
