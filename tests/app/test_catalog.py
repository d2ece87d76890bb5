import pytest

from app import catalog, settings
from pyengine.errors import EngineError

SITE = "https://site.example/app/"
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
    return catalog.parse_index(INDEX, SITE + "models/")


def test_the_default_model_and_its_file(entries):
    entry = catalog.resolve(None, entries, SITE)
    assert entry is catalog.resolve("smollm2-135m-instruct", entries, SITE)
    assert (
        entry.files == {"model.gguf": SITE + "models/smollm2-135m-instruct/model.gguf"}
        and entry.nbytes == 98
    )
    assert catalog.as_json(entries) == [
        {"id": entry.id, "name": "SmolLM2", "license": "Apache-2.0", "bytes": 98}
    ]


def test_urls_of_this_site(entries):
    entry = catalog.resolve("https://site.example/m/a%20b.gguf", entries, SITE)
    assert entry.files == {"a b.gguf": "https://site.example/m/a%20b.gguf"}
    folder = catalog.resolve("https://site.example/m/llama/", entries, SITE)
    assert folder.folder == "https://site.example/m/llama/" and folder.files == {}


@pytest.mark.parametrize(
    "model",
    [
        "",
        5,
        "gpt-4",
        "org/name",
        "https://else.example/a.gguf",
        "http://site.example/a.gguf",
        "https://site.example/a.bin",
    ],
)
def test_other_models_are_refused(entries, model):
    with pytest.raises(EngineError) as caught:
        catalog.resolve(model, entries, SITE)
    assert caught.value.code == "E_BAD_REQUEST" and caught.value.facts["param"] == "model"
    if model in ("gpt-4", "org/name"):
        assert "smollm2-135m-instruct" in caught.value.message


@pytest.mark.parametrize(
    "index", [None, {}, {"models": [{}]}, {"models": 5}, {"models": [{"id": "x", "files": [5]}]}]
)
def test_a_broken_index_is_a_bad_file(index):
    with pytest.raises(EngineError) as caught:
        catalog.parse_index(index, SITE)
    assert caught.value.code == "E_BAD_FILE"


def test_shards_are_file_names():
    assert catalog.shards_of(
        b'{"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "1.safetensors"}}'
    ) == ["1.safetensors", "2.safetensors"]
    for bad in (b"", b"[]", b"{}", b'{"weight_map": {"a": "../x"}}', b'{"weight_map": {"a": 5}}'):
        with pytest.raises(EngineError) as caught:
            catalog.shards_of(bad)
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


def test_the_registry_describes_every_sampling_parameter():
    from pyengine.decode.sampling import SamplingParams

    fields = set(SamplingParams.__dataclass_fields__) - {"logit_bias"}
    assert set(settings.SAMPLING) == fields
    for row in settings.as_json():
        assert row["help"] and row["type"] in ("int", "float")
    for name, value in settings.defaults().items():
        assert getattr(SamplingParams(), name) == value
