"""Files that the command line's arguments name."""

import json
import os

from pyengine.errors import EngineError


def read_json(path, kind=dict):
    """The object (or what `kind` is) of a JSON file. Raises E_NO_FILE, E_BAD_FILE."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise EngineError("E_NO_FILE", path=path, detail=error.strerror or str(error)) from None
    except ValueError as error:
        raise EngineError("E_BAD_FILE", file=path, format="JSON", detail=str(error)) from None
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise EngineError("E_BAD_FILE", file=path, format="JSON",
                          detail=f"wanted {wanted} at the top")
    return value


def read_text(path):
    """The text of a UTF-8 file. Raises E_NO_FILE, E_BAD_FILE."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise EngineError("E_NO_FILE", path=path, detail=error.strerror or str(error)) from None
    except ValueError as error:
        raise EngineError("E_BAD_FILE", file=path, format="UTF-8", detail=str(error)) from None


def read_bytes(path):
    """The bytes of a file. Raises E_NO_FILE."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise EngineError("E_NO_FILE", path=path, detail=error.strerror or str(error)) from None


def check_writable(path):
    """Raises E_NO_FILE where no file of this name can be written: before what would be lost is
    computed. Leaves what is there as it is."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not path:
        raise EngineError("E_NO_FILE", path=path, detail="it is no name of a file")
    if not os.path.isdir(folder):
        raise EngineError("E_NO_FILE", path=path, detail=f"there is no folder {folder}")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise EngineError("E_NO_FILE", path=path, detail="it may not be written")


def response_format(args):
    """The `response_format` of the arguments, or None."""
    if args.json_schema is not None:
        return {"type": "json_schema", "json_schema": {"schema": read_json(args.json_schema)}}
    if args.regex is not None:
        return {"type": "regex", "regex": args.regex}
    if args.grammar is not None:
        return {"type": "grammar", "grammar": read_text(args.grammar)}
    return None
