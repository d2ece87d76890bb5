import asyncio
import dataclasses
import json

import pytest

from app import catalog, settings
from app.build import settings as build_settings
from app.catalog_data import OFFERS
from pyengine import models
from pyengine.errors import EngineError
from pyengine.kernels.spec import Caps
from tests.app.test_worker import make, message

INDEX = {
    "models": [
        {
            "id": "smollm2-135m-instruct",
            "name": "SmolLM2",
            "license": "Apache-2.0",
            "bytes": 98,
            "files": [{"name": "model.gguf", "bytes": 98, "sha256": "0"}],
        }
    ]
}


@pytest.fixture
def entries():
    return catalog.parse_index(INDEX)


def test_what_the_storage_takes_for_a_model(entries):
    default = "smollm2-135m-instruct"
    assert catalog.source_of(None, entries) == catalog.source_of(default, entries) == default
    served = catalog.as_json(entries)
    assert served == [{"id": default, "name": "SmolLM2", "license": "Apache-2.0", "bytes": 98}]
    offer = next(offer for offer in OFFERS if offer.id == "smollm2-360m-instruct")
    assert catalog.source_of(offer.id, entries) == f"{offer.repo}:{offer.files[0][0]}"
    hosted = {offer.id: catalog.ModelEntry(offer.id, "x")}
    assert catalog.source_of(offer.id, hosted) == offer.id, "what the site serves comes from it"
    for other in ("mine", "org/name@v1", "https://site.example/m/a.gguf"):
        assert catalog.source_of(other, entries) == other
    for wrong in ("", 5, []):
        with pytest.raises(EngineError) as caught:
            catalog.source_of(wrong, entries)
        assert (caught.value.code, caught.value.facts["param"]) == ("E_BAD_REQUEST", "model")


def test_an_unknown_id_names_the_known_ones(entries):
    error = catalog.unknown("gpt-4", entries)
    assert error.code == "E_BAD_REQUEST" and "'gpt-4'" in error.message
    assert "smollm2-135m-instruct" in error.message and "smollm2-360m-instruct" in error.message
    assert catalog.is_plain("gpt-4") and not catalog.is_plain("org/name")


def test_a_hubs_model_has_one_name():
    named = {catalog.hub_name(offer) for offer in OFFERS if offer.repo}
    assert "mlx-community/Qwen3-0.6B-4bit" in named
    offer = dataclasses.replace(OFFERS[1], revision="v2")
    assert catalog.hub_name(offer) == f"{offer.repo}@v2:{offer.files[0][0]}"


@pytest.mark.parametrize(
    "index", [None, {}, {"models": [{}]}, {"models": 5}, {"models": [{"id": "x", "files": [5]}]}]
)
def test_a_broken_index_is_a_bad_file(index):
    with pytest.raises(EngineError) as caught:
        catalog.parse_index(index)
    assert caught.value.code == "E_BAD_FILE"


def test_load_options():
    given = {"quant": "keep", "kv": "f32", "context": 83, "burst": "auto", "model": "x"}
    assert settings.load_options(given) == {
        "quant": "keep",
        "kv": "f32",
        "context": 83,
        "burst": "auto",
    }
    assert settings.load_options({"quant": None, "burst": 7}) == {"burst": 7}
    for name, value in (
        ("quant", "q9"),
        ("kv", "f64"),
        ("context", 0),
        ("burst", 0),
        ("burst", True),
        ("quant", []),
    ):
        with pytest.raises(EngineError) as caught:
            settings.load_options({name: value})
        assert caught.value.facts["param"] == name


def test_the_reference_device_is_only_taken_by_name():
    assert settings.load_device({}) == settings.load_device({"device": None}) == "webgpu"
    assert settings.load_device({"device": "reference"}) == "reference"
    for wrong in ("cpu", 5, []):
        with pytest.raises(EngineError) as caught:
            settings.load_device({"device": wrong})
        assert caught.value.facts["param"] == "device"


def test_the_registry_describes_every_sampling_parameter():
    from pyengine.decode.sampling import SamplingParams

    fields = set(SamplingParams.__dataclass_fields__) - {"logit_bias", "top_logprobs"}
    assert set(settings.SAMPLING) == fields
    for row in settings.as_json():
        assert row["help"] and row["type"] in ("int", "float")
    for name, value in settings.defaults().items():
        assert getattr(SamplingParams(), name) == value


def test_every_offer_is_whole():
    assert len({offer.id for offer in OFFERS}) == len(OFFERS) == 11
    for offer in OFFERS:
        assert (offer.nbytes is None) != (offer.bytes_approx is None), offer.id
        assert 90e6 < (offer.nbytes or offer.bytes_approx) < 2e9
        assert offer.name and offer.family and offer.license and offer.quantisation
        assert 0 < offer.context <= offer.config["max_position_embeddings"]
        assert (offer.source == "hub") == bool(offer.repo) and offer.revision == "main"
        assert offer.modalities == ("text",) and any(required for _, required in offer.files)
        if offer.repo:
            assert len(offer.repo.split("/")) == 2


def test_the_shipped_model_is_offered_as_it_is_shipped():
    shipped = build_settings.MODELS[0]
    offer = next(offer for offer in OFFERS if offer.source == "same-origin")
    assert (offer.id, offer.nbytes) == (shipped.id, shipped.nbytes)
    assert offer.files == ((shipped.file, True),) and offer.license == shipped.license
    assert offer.id == catalog.DEFAULT_MODEL


def test_only_families_that_the_engine_has_are_offered():
    assert {offer.family for offer in catalog.offered({"llama"})} == {"SmolLM2"}
    families = {offer.family for offer in catalog.offered({"qwen3_5_text", "lfm2"})}
    assert families == {"Qwen3.5", "LFM2.5"}
    assert catalog.offered(()) == []
    ids = [offer.id for offer in catalog.offered()]
    assert ids == [o.id for o in OFFERS if o.config["model_type"] in models.families()]


def test_rows_are_ready_for_the_page():
    rows = catalog.rows()
    assert json.loads(json.dumps(rows)) == rows
    assert [row["id"] for row in rows] == [offer.id for offer in catalog.offered()]
    first, second, third = rows[:3]
    assert first["source"] == {"kind": "same-origin", "model": "smollm2-135m-instruct"}
    assert (first["fit"]["verdict"], first["approximate"]) == ("fits", False)
    assert second["source"]["model"] == f"{second['source']['repo']}:{second['files'][0]['name']}"
    assert second["quant"] == "4-bit (GGUF Q4_0)"
    assert (third["fit"]["verdict"], third["fit"]["largest_context"]) == ("no", 0)


def test_rows_follow_the_device():
    roomy = {row["id"]: row["fit"] for row in catalog.rows(budget=4 * 10**9)}
    assert roomy["smollm2-1.7b-instruct"]["verdict"] == "fits"
    tiny = {row["id"]: row["fit"]["verdict"] for row in catalog.rows(budget=10**8)}
    assert set(tiny.values()) == {"no"}
    least = {row["id"]: row["fit"] for row in catalog.rows(Caps(), 4 * 10**9)}
    assert least["smollm2-1.7b-instruct"]["verdict"] == "fits"  # matrices are cut, caches are not
    small = {row["id"]: row["fit"] for row in catalog.rows(Caps(max_binding=2**23), 4 * 10**9)}
    assert "GPU binding" in small["smollm2-1.7b-instruct"]["reason"]
    small = catalog.rows(context=83)[0]["fit"]
    assert (
        small["context"] == 83
        and small["bytes"]["kv"] < roomy[catalog.DEFAULT_MODEL]["bytes"]["kv"]
    )
    assert catalog.rows(context=10**6)[0]["fit"]["context"] == 8192


def test_the_catalogue_with_verdicts_needs_no_model():
    async def go():
        worker, parts = make()
        await worker.handle(message("a", "catalog", {"context": 512, "platform": "desktop",
                                                     "memory_gib": 8}))
        (answer,) = parts.of("a", "result")
        assert answer["budget"] == 4 * 10**9
        assert {row["fit"]["verdict"] for row in answer["rows"]} == {"fits"}
        assert {row["fit"]["context"] for row in answer["rows"]} == {512}
        parts.gpu = '{"maxBinding": 134217728, "maxBuffer": 268435456, "maxStorageBuffers": 8}'
        await worker.handle(message("b", "catalog", {"platform": "desktop"}))
        (answer,) = parts.of("b", "result")
        assert answer["budget"] == 10**9, "so small a GPU has no more"
        for params in ({"context": 0}, {"memory_gib": "much"}, {"budget_mb": "all"},
                       {"budget_mb": 0}, {"speed": 1}):
            await worker.handle(message("bad", "catalog", params))
            assert parts.of("bad", "error").pop()["code"] == "E_BAD_REQUEST"

    asyncio.run(go())
