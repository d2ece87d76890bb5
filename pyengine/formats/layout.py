"""Checks that both weight formats share."""

from reprlib import repr as brief  # bounded in depth and length, whatever a file holds

from pyengine.errors import EngineError

__all__ = ["brief", "check_overlaps"]


def check_overlaps(file, format_, tensors):
    """Refuses tensors (`name`, `offset`, `nbytes`) of one file that share bytes: E_BAD_FILE."""
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
