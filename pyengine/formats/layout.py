"""What the headers of both weight formats share."""

from dataclasses import dataclass
from reprlib import repr as brief  # bounded in depth and length, whatever a file holds

from pyengine.errors import EngineError

__all__ = ["FileTensor", "brief", "check_overlaps"]


@dataclass(frozen=True)
class FileTensor:
    """A tensor of a file's header. `shape` is row-major; `offset` is absolute in the file."""

    name: str
    shape: tuple
    encoding: str
    offset: int
    nbytes: int


def check_overlaps(file, format_, tensors):
    """Refuses `FileTensor`s of one file that share bytes: E_BAD_FILE."""
    last, end = None, 0
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if tensor.nbytes and tensor.offset < end:
            raise EngineError(
                "E_BAD_FILE",
                file=file,
                format=format_,
                detail=f"tensors {last[:80]} and {tensor.name[:80]} overlap "
                f"at byte {tensor.offset}",
            )
        if tensor.offset + tensor.nbytes > end:
            last, end = tensor.name, tensor.offset + tensor.nbytes
