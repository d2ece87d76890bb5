"""Hub names and addresses -> files, as tables."""

import pytest

from app import hub
from app.hub import HubModel
from pyengine.errors import EngineError

LOCAL = "http://127.0.0.1:8001/mirror/"
INDEX = b'{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}'

GOOD = [
    ("org/name", HubModel("org/name")),
    ("  org/name\n", HubModel("org/name")),
    ("O-r_g.1/na.me-7_b", HubModel("O-r_g.1/na.me-7_b")),
    ("org/name@v1.0", HubModel("org/name", "v1.0")),
    ("org/name@refs/pr/7", HubModel("org/name", "refs/pr/7")),
    ("org/name:a-Q4_0.gguf", HubModel("org/name", "main", "a-Q4_0.gguf")),
    ("org/name@abc:sub/a b.GGUF", HubModel("org/name", "abc", "sub/a b.GGUF")),
    (hub.HUB + "org/name", HubModel("org/name")),
    (hub.HUB + "org/name/", HubModel("org/name")),
    (hub.HUB.upper() + "org/name", HubModel("org/name")),
    (hub.HUB + "org/name/tree/dev", HubModel("org/name", "dev")),
    (hub.HUB + "org/name/tree/refs%2Fpr%2F1", HubModel("org/name", "refs/pr/1")),
    (hub.HUB + "org/name/resolve/main/a.gguf", HubModel("org/name", "main", "a.gguf")),
    (hub.HUB + "org/name/resolve/main/a.gguf?download=true", HubModel("org/name", file="a.gguf")),
    (hub.HUB + "org/name/blob/v2/q/a%20b.gguf#L1", HubModel("org/name", "v2", "q/a b.gguf")),
    (hub.HUB + "org/name/blob/main/config.json", HubModel("org/name")),
    (hub.HUB + "org/name/resolve/v3/model.safetensors", HubModel("org/name", "v3")),
]
BAD = [
    None,
    5,
    "",
    " ",
    "name",
    "org/",
    "/name",
    "org/name/more",
    "../name",
    "org/..",
    "org/na me",
    "org/na--me",
    "org/name.",
    "-org/name",
    "org/" + "n" * 97,
    "org/name@",
    "org/name@..",
    "org/name@a//b",
    "org/name@a b",
    "org/name:",
    "org/name:a.bin",
    "org/name:../a.gguf",
    "org/name:/a.gguf",
    "org/name:a\\b.gguf",
    "org/name:a\n.gguf",
    "https://else.example/org/name",
    "http://" + hub.HUB.split("://")[1] + "org/name",
    hub.HUB.rstrip("/") + ".evil.example/org/name",
    hub.HUB.replace("://", "://user@else.example:443/") + "org/name",
    hub.HUB,
    hub.HUB + "org",
    hub.HUB + "org/name/discussions",
    hub.HUB + "org/name/tree",
    hub.HUB + "datasets/org/name",
    hub.HUB + "org/name/tree/main/sub",
    hub.HUB + "org/name/resolve/main/..%2f..%2fa.gguf",
    hub.HUB + "org/name/resolve/main/sub/a.bin",
    "https://[::1/org/name",
]


@pytest.mark.parametrize(("text", "model"), GOOD)
def test_what_means_a_model(text, model):
    assert hub.parse(text) == model
    assert hub.parse(model.id) == model, "an id means the same model"


@pytest.mark.parametrize("text", BAD)
def test_what_does_not(text):
    with pytest.raises(EngineError) as caught:
        hub.parse(text)
    assert caught.value.code == "E_BAD_REQUEST" and caught.value.facts["param"] == "model"
    assert "org/name" in caught.value.message


def test_a_folders_files():
    found = hub.files(HubModel("org/name", "refs/pr/1"))
    names = {file.name: file.required for file in found}
    assert names == {
        "config.json": True,
        "tokenizer.json": False,
        "tokenizer_config.json": False,
        "generation_config.json": False,
        "chat_template.jinja": False,
        "model.safetensors.index.json": False,
    }
    assert found[0].url == hub.HUB + "org/name/resolve/refs%2Fpr%2F1/config.json"


def test_a_folders_weights():
    model = HubModel("org/name")
    (whole,) = hub.weight_files(model)
    assert (whole.name, whole.required) == ("model.safetensors", True)
    shards = hub.weight_files(model, INDEX)
    assert [file.name for file in shards] == ["model-1.safetensors", "model-2.safetensors"]
    assert shards[1].url == hub.HUB + "org/name/resolve/main/model-2.safetensors"
    for bad in (b"", b"[]", b'{"weight_map": {"a": "../../x"}}'):
        with pytest.raises(EngineError) as caught:
            hub.weight_files(model, bad)
        assert caught.value.code == "E_BAD_FILE"


def test_a_gguf_is_whole():
    model = HubModel("org/name", "main", "sub/a b.gguf")
    (file,) = hub.files(model)
    assert file == hub.HubFile(
        "sub/a b.gguf", hub.HUB + "org/name/resolve/main/sub/a%20b.gguf", True
    )
    assert hub.weight_files(model) == []


@pytest.mark.parametrize("base", [LOCAL, LOCAL.rstrip("/")])
def test_another_base(base):
    model = hub.parse(LOCAL + "org/name/resolve/v1/a.gguf", base)
    assert model == HubModel("org/name", "v1", "a.gguf")
    assert hub.files(model, base)[0].url == LOCAL + "org/name/resolve/v1/a.gguf"
    for outside in ("http://127.0.0.1:8001/org/name", "http://127.0.0.1:8001/mirrors/org/name"):
        with pytest.raises(EngineError):
            hub.parse(outside, base)


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("org/name", True),
        (hub.HUB + "org/name/whatever", True),
        ("smollm2-135m-instruct", False),
        ("/models/a.gguf", False),
        ("./a.gguf", False),
        ("https://else.example/a.gguf", False),
        (None, False),
    ],
)
def test_what_can_only_be_the_hub(text, yes):
    assert hub.is_hub(text) is yes
