"""Loads a voice in the browser: two models' files, a device of its own beside the chat's."""

import json

from app import catalog_voices, settings, speech, tuning
from app.devices import open_device
from app.session import tokenizer_of

CONTEXT = 4096   # a prompt of some hundred tokens, and 3,000 of speech


async def open_speaker(loader, parts, request, params, progress, make_room):
    """(Speaker, what ends its device and files) of a checked request and its call's params.
    `make_room(bytes)` is awaited before anything is put on the GPU. Raises what downloading,
    reading and `speech.load_speaker` raise; nothing stays open then."""
    from app.steady import tested

    given = {"context": CONTEXT, **{k: params[k] for k in ("quant", "context") if params.get(k)}}
    options = {**settings.load_options(given), "selftest_cache": tuning.BrowserCache(parts)}
    closers = []

    def shut():
        for close in reversed(closers):
            close()

    try:
        progress("read")
        voice, codec = [await _checkpoint(loader, name, params, closers)
                        for name in catalog_voices.sources(request.model, request.codec,
                                                           loader.entries)]
        device = await open_device(parts, params.get("device"), parts.new_binding)
        closers.append(device.close)
        _, options = await tested(device, voice.config, options)
        await make_room(speech.needs(voice, codec, device.caps, **options))
        speaker = await speech.load_speaker(
            voice, codec, device, tokenizer=_tokenizer(parts, voice, request.model),
            on_progress=progress, **options)
    except BaseException:
        shut()
        raise
    progress("ready", 1, 1)
    return speaker, shut


async def _checkpoint(loader, name, params, closers):
    from pyengine.formats.checkpoint import open_checkpoint

    _, files = await loader.open_files(name, params)
    closers.extend(source.close for source in files.values())
    return await open_checkpoint(files)


def _tokenizer(parts, checkpoint, model):
    from pyengine.text.tokenizer import JsBackend

    config = json.dumps(checkpoint.tokenizer_config)
    return tokenizer_of(checkpoint, model or catalog_voices.DEFAULT.id,
                        lambda text: JsBackend(parts.make_tokenizer(text, config)))
