"""A Hugging Face-style folder: the files of a model, since a static host lists none."""

import json

from pyengine.errors import EngineError

FOLDER_REQUIRED = ("config.json",)
FOLDER_OPTIONAL = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
FOLDER_INDEX = "model.safetensors.index.json"
FOLDER_WEIGHTS = "model.safetensors"


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
