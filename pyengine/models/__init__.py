"""Model families, found by file: each module here names its MODEL_TYPES and GGUF_ARCHS."""
import importlib
import pkgutil
from functools import cache

from pyengine.errors import EngineError

_SHARED = ("builder", "blocks")


@cache
def families():
    """{model_type: module}. Two families that claim one type are a bug, and refused."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name in _SHARED:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for model_type in module.MODEL_TYPES:
            if model_type in found:
                raise EngineError(
                    "E_INTERNAL",
                    detail=f"{model_type} is claimed by {found[model_type]} and {module}",
                )
            found[model_type] = module
    return found


def find(model_type):
    """The family's module. Raises `E_UNSUPPORTED_MODEL` with the known types."""
    known = families()
    if not isinstance(model_type, str) or model_type not in known:
        raise EngineError(
            "E_UNSUPPORTED_MODEL", model_type=str(model_type)[:80], known=", ".join(sorted(known))
        )
    return known[model_type]
