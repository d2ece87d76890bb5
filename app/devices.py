"""The devices of a page: its GPU, or the ops' numpy references."""

from dataclasses import replace


async def open_device(parts, name, binding, **caps):
    """A device by its `name`: the references for "reference", else the GPU behind the JavaScript
    that `binding()` promises, with `caps` set otherwise than found. Raises E_NO_WEBGPU."""
    if name == "reference":
        await parts.need("numpy")
        from pyengine.device.numpy_ref import NumpyDevice

        return NumpyDevice()
    from pyengine.device.web import WebDevice

    device = await WebDevice.opened(binding())
    device.caps = replace(device.caps, **caps)
    return device
