"""`ByteSource`: where a checkpoint's bytes come from. Only ranges are read, never a whole file.

Every source has `name`, `size` (bytes) and `async read(offset, length) -> bytes` of exactly that
length, and raises E_TRUNCATED for a range outside the file or a short answer.
"""

import os
from typing import Protocol

from pyengine.errors import EngineError


class ByteSource(Protocol):
    """What `open_checkpoint` and the uploader need of a file."""

    name: str
    size: int

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`, or E_TRUNCATED."""


def check_range(source, offset, length):
    """Refuses a range that is not inside the file."""
    if offset < 0 or length < 0 or offset + length > source.size:
        raise EngineError(
            "E_TRUNCATED", file=source.name, start=offset, end=offset + length, size=source.size
        )


class BytesSource:
    """A file that is in memory already."""

    def __init__(self, name, data):
        self.name, self.size, self._data = name, len(data), memoryview(data).cast("B")

    async def read(self, offset, length):
        """Exactly `length` bytes at `offset`, or E_TRUNCATED."""
        check_range(self, offset, length)
        return bytes(self._data[offset : offset + length])


class FileSource:
    """A file on disk, read by position. Raises E_NO_FILE when it cannot be opened."""

    def __init__(self, path):
        self.name = os.path.basename(path)
        try:
            self._file = open(path, "rb", buffering=0)
        except OSError as error:
            raise EngineError(
                "E_NO_FILE", path=str(path), detail=error.strerror or str(error)
            ) from None
        self.size = os.fstat(self._file.fileno()).st_size

    async def read(self, offset, length):
        """Exactly `length` bytes at `offset`, or E_TRUNCATED."""
        check_range(self, offset, length)
        self._file.seek(offset)
        parts, left = [], length
        while left:  # the kernel may answer with less than asked
            part = self._file.read(left)
            if not part:
                raise EngineError(
                    "E_TRUNCATED",
                    file=self.name,
                    start=offset,
                    end=offset + length,
                    size=offset + length - left,
                )
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self):
        """Gives the file handle back; a later read fails."""
        self._file.close()
