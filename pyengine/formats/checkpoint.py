"""`open_checkpoint`: a GGUF file's or a Hugging Face folder's headers as one `Checkpoint`."""

import os
import struct
from dataclasses import dataclass, field

from pyengine.errors import EngineError
from pyengine.formats import gguf, gguf_names, mlx, safetensors
from pyengine.formats.alphas import add_alphas
from pyengine.formats.source import FileSource

MAX_TEXT = 1 << 28
TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    safetensors.INDEX,
)


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies: `shape` row-major, `offset` absolute in `checkpoint.files[file]`.

    `rope_interleaved`: its rows are in llama.cpp's order for RoPE; the repack undoes that.
    `scales`, `biases`: refs of an MLX matrix, whose own bytes are the codes. `shifted`: a gain that
    has its 1 already where the family stores gain - 1; the repack takes it off again.
    """

    name: str
    shape: tuple
    encoding: str
    file: int
    offset: int
    nbytes: int
    rope_interleaved: bool = False
    scales: object = None
    biases: object = None
    shifted: bool = False


@dataclass
class Checkpoint:
    """All but the weights' bytes. `format` is `gguf` or `safetensors`; names are Hugging Face's.

    `metadata` is a GGUF's key-value pairs; `tokenizer_json` is None then, and built from them.
    """

    format: str
    config: dict
    tensors: dict
    files: list
    tokenizer_json: str | None = None
    tokenizer_config: dict = field(default_factory=dict)
    chat_template: str | None = None
    generation_config: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)

    def close(self):
        """Closes the files that can be closed."""
        for source in self.files:
            getattr(source, "close", lambda: None)()


async def open_checkpoint(files, path="the model"):
    """Checkpoint of {name: ByteSource}: one *.gguf, or a folder's *.safetensors, config and texts.
    `path` is what an error calls them.

    Reads headers only. Raises E_NO_FILE, E_BAD_FILE, E_TRUNCATED, E_UNSUPPORTED_*,
    E_MISSING_TENSOR.
    """
    if any(name.endswith(".safetensors") for name in files):
        return await _open_folder(files)
    ggufs = sorted(name for name in files if name.lower().endswith(".gguf"))
    if len(ggufs) != 1:
        found = ", ".join(sorted(files)[:8]) or "nothing"
        raise EngineError(
            "E_NO_FILE",
            path=path,
            detail=f"wanted one .gguf file, or config.json with .safetensors; found {found}",
        )
    return await _open_gguf(files[ggufs[0]])


async def open_path(path):
    """Checkpoint of a .gguf file on disk, or of a folder with safetensors or one .gguf.

    Raises E_NO_FILE, and what `open_checkpoint` raises; no file stays open then.
    """
    folder, names = _names_on_disk(os.fspath(path))
    files = {}
    try:
        for name in names:
            files[name] = FileSource(os.path.join(folder, name))
        checkpoint = await open_checkpoint(files, os.fspath(path))
    except BaseException:
        _close(files.values())
        raise
    _close(source for source in files.values() if source not in checkpoint.files)
    return checkpoint


def _names_on_disk(path):
    """(folder, names of its files that a checkpoint is made of)."""
    if not os.path.isdir(path):
        if os.path.exists(path) and not path.lower().endswith(".gguf"):
            detail = "it is neither a folder nor a .gguf file"
            raise EngineError("E_NO_FILE", path=path, detail=detail)
        folder, name = os.path.split(path)
        return folder, [name]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise EngineError("E_NO_FILE", path=path, detail=error.strerror or str(error)) from None
    weights = (".safetensors", ".gguf")
    return path, [n for n in names if n in TEXT_FILES or n.lower().endswith(weights)]


async def _open_gguf(source):
    header = await gguf.read_header(source)
    metadata = header.metadata
    arch = gguf_names.arch_of(metadata)
    config = gguf_names.hf_config(metadata, {t.name: t.shape for t in header.tensors})
    tensors = {}
    for t in header.tensors:
        name, interleaved = gguf_names.hf_name(arch, t.name, config)
        if name in tensors:
            raise EngineError(
                "E_BAD_FILE",
                file=source.name,
                format="GGUF",
                detail=f"two of its tensors are {name[:80]}",
            )
        tensors[name] = TensorRef(name, t.shape, t.encoding, 0, t.offset, t.nbytes, interleaved,
                                  shifted=gguf_names.is_shifted(arch, name))
    await _add_rope_factors(config, tensors.get(gguf_names.ROPE_FACTORS), source)
    template = metadata.get("tokenizer.chat_template")
    ids = {key: value for key, value in gguf_names.token_ids(metadata).items() if value is not None}
    return Checkpoint(
        "gguf",
        config,
        tensors,
        [source],
        tokenizer_config=gguf_names.tokenizer_config(metadata),
        chat_template=template if isinstance(template, str) else None,
        generation_config=ids,
        metadata=metadata,
    )


async def _add_rope_factors(config, ref, source):
    """llama.cpp stores the llama 3 scaling as what each frequency is divided by."""
    if ref is None:
        return
    if ref.encoding != "f32" or ref.shape != (config["head_dim"] // 2,):
        raise EngineError("E_UNSUPPORTED_TENSOR", tensor=ref.name,
                          detail=f"it is {ref.encoding} {list(ref.shape)}, wanted f32 "
                                 f"[{config['head_dim'] // 2}]")
    raw = await source.read(ref.offset, ref.nbytes)
    factors = struct.unpack(f"<{ref.shape[0]}f", raw)
    config["rope_scaling"] = {"rope_type": "factors", "factors": list(factors)}


async def _open_folder(files):
    config = await _read_json(files, "config.json")
    if config is None:
        raise EngineError("E_NO_FILE", path="config.json", detail="the model folder has none")
    tensors, sources = await _read_shards(files, await _read_json(files, safetensors.INDEX))
    await add_alphas(config, tensors, sources)
    tokenizer_config = await _read_json(files, "tokenizer_config.json") or {}
    template = await _read_text(files, "chat_template.jinja")
    return Checkpoint(
        "safetensors",
        config,
        mlx.join(config, tensors),
        sources,
        tokenizer_json=await _read_text(files, "tokenizer.json"),
        tokenizer_config=tokenizer_config,
        chat_template=template or _template_of(tokenizer_config),
        generation_config=await _read_json(files, "generation_config.json") or {},
    )


async def _read_shards(files, index):
    """({name: TensorRef}, [ByteSource]) of a folder's shards, each tensor in one shard only."""
    tensors, sources, found = {}, [], {}
    for shard in safetensors.choose_shards(files, index):
        entries, _ = await safetensors.read_header(files[shard])
        for t in entries:
            if t.name in found:
                raise EngineError(
                    "E_BAD_FILE",
                    file=shard,
                    format="safetensors",
                    detail=f"tensor {t.name[:80]} is in {found[t.name]} too",
                )
            found[t.name] = shard
            tensors[t.name] = TensorRef(
                t.name, t.shape, t.encoding, len(sources), t.offset, t.nbytes
            )
        sources.append(files[shard])
    if index is not None:
        safetensors.check_index(index, found)
    return tensors, sources


def _template_of(tokenizer_config):
    """The default template of a tokenizer_config.json: a string, or a list of named ones."""
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):
        named = {
            t.get("name"): t.get("template")
            for t in template
            if isinstance(t, dict) and isinstance(t.get("name"), str)
        }
        template = named.get("default")
    return template if isinstance(template, str) else None


async def _read_raw(files, name):
    source = files.get(name)
    if source is None:
        return None
    if source.size > MAX_TEXT:
        raise EngineError(
            "E_BAD_FILE",
            file=name,
            format=name.rpartition(".")[2].upper(),
            detail=f"it has {source.size} bytes, wanted at most {MAX_TEXT}",
        )
    return await source.read(0, source.size)


async def _read_text(files, name):
    raw = await _read_raw(files, name)
    if raw is None:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EngineError(
            "E_BAD_FILE", file=name, format="text", detail=f"byte {error.start} is not UTF-8"
        ) from None


async def _read_json(files, name):
    raw = await _read_raw(files, name)
    return None if raw is None else safetensors.parse_json(raw, name, "JSON")


def _close(sources):
    for source in sources:
        source.close()
