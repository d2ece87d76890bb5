"""What test_codec_web.py runs inside Pyodide. Imports of the page's world are inside functions, so
that the tests can import this module too."""
import json

FILES = ("config.json", "model.safetensors")


async def answer(name, arguments):
    """Calls a function of this module; both ways JSON text."""
    return json.dumps(await globals()[name](**json.loads(arguments)))


async def decoded(folder, frames, cuts, buckets):
    """Samples of the whole, whether each cut of it gives the same bits, and what was left alive."""
    import struct

    import js

    from app.loader import JsSource
    from pyengine.audio.codec import load_codec
    from pyengine.device.web import WebDevice
    from pyengine.formats.checkpoint import open_checkpoint
    source = await open_checkpoint({
        name: JsSource(await js.engineTest.reader(f"goldens/{folder}/{name}")) for name in FILES})
    binding = await js.engineTest.createBinding()
    try:
        codec = await load_codec(source, WebDevice(binding), buckets=buckets)
        whole, same = await codec.decode(frames), []
        live = codec.live()
        for cut in cuts:
            codec.reset()
            parts, at = [], 0
            for count in cut:
                parts.append(await codec.decode(frames[at:at + count]))
                at += count
            same.append(b"".join(parts) == whole)
        grown = codec.live() != live
        codec.close()
    finally:
        binding.destroy()
    return {"samples": struct.unpack(f"<{len(whole) // 4}f", whole), "same": same, "grown": grown}
