"""How much GPU memory a page gets, as far as a browser tells, and who has to go for another model.
Imports no planner: a warm start needs none."""
from dataclasses import dataclass

from pyengine.errors import EngineError

GB = 10**9
# Memory that a page gets for GPU buffers, by platform: bytes, or a share of the device's memory.
#   iPad, iPhone: Safari charges Metal buffers to the page's process (WebKit PR 11787), whose limit
#   is "still 1.5 GB on iOS" (WebKit PR 49472, 2025-08); installing the app does not raise it. Of
#   1.2 GB that are safe to use, Pyodide, the page and the upload's copies take 0.2 GB.
#   Android: Chrome's GPU process shares the RAM with all else; a quarter of `deviceMemory`.
#   Desktop: about half of the RAM on shared-memory GPUs (D3D12's shared limit is 1/2, Metal's
#   recommendedMaxWorkingSetSize 2/3 or more). `deviceMemory` says at most 8 (GiB), in the browsers
#   that tell it at all; the others (Safari, Firefox) count as 4.
PLATFORMS = {
    "ipad": {"bytes": GB},
    "iphone": {"bytes": GB},
    "android": {"share": 0.25, "memory_gib": 4, "most": 2 * GB},
    "desktop": {"share": 0.5, "memory_gib": 4, "most": 4 * GB},
}
# An adapter with no more than WebGPU's guaranteed 256 MB buffer is a fallback or a very small GPU.
SMALL_BUFFER = 256 << 20
SMALL_GPU = GB


def budget_of(platform, device_memory=None, max_buffer=None, chosen_mb=None):
    """Bytes that GPU buffers may take on `platform`, a key of PLATFORMS; any other is as an iPad.

    `device_memory` is `navigator.deviceMemory` in GiB, `max_buffer` the adapter's maxBufferSize;
    None where not known. `chosen_mb`: what the person allows instead, in MB.
    """
    if chosen_mb is not None:
        return int(chosen_mb * 1e6)
    row = PLATFORMS.get(platform, PLATFORMS["ipad"])
    if "bytes" in row:
        return row["bytes"]
    found = min(int((device_memory or row["memory_gib"]) * (1 << 30) * row["share"]), row["most"])
    return min(found, SMALL_GPU) if max_buffer is not None and max_buffer <= SMALL_BUFFER else found


@dataclass(frozen=True)
class Resident:
    """A loaded model: what it is for, its bytes of GPU memory, and whether it works now."""
    name: str
    nbytes: int
    busy: bool = False


def make_room(residents, need, budget):
    """Names of the `residents`, least needed first, that have to go for a model of `need` bytes:
    the fewest from the front, none that works. Raises `E_OUT_OF_MEMORY` where that is not
    enough."""
    left, gone = budget - sum(one.nbytes for one in residents), []
    for one in residents:
        if left >= need:
            break
        if not one.busy:
            gone.append(one.name)
            left += one.nbytes
    if left < need:
        raise EngineError("E_OUT_OF_MEMORY", what="a model beside those at work", needed=need,
                          available=max(left, 0))
    return gone
