"""A seekable file over range requests, with a read-ahead that grows while it is read in order."""

import io
from collections.abc import Callable
from typing import Any

# What one request fetches: the first after a jump, and at most.
FIRST_BYTES = 1 << 18
MOST_BYTES = 1 << 23

ReadRange = Callable[[int, int], bytes]


class RangedReader(io.RawIOBase):
    """Reads an object by ranges.

    A jump followed by a small read fetches `FIRST_BYTES`. As long as the reads go
    forward, over gaps no longer than the last window, each window is twice as long,
    up to `MOST_BYTES`. A read that is longer than the window is one request.

    Args:
      read_range: Returns the bytes from an offset on, of a length, which is not 0;
        raises an OSError, also if there are fewer.
      size_bytes: Size of the object.
      close: Called once when the file is closed.
    """

    def __init__(
        self, read_range: ReadRange, size_bytes: int, close: Callable[[], object] = lambda: None
    ):
        super().__init__()
        self._read_range, self._size, self._close = read_range, size_bytes, close
        self._position = self._start = 0
        self._window = memoryview(b"")
        self._length = FIRST_BYTES

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; requests nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"expected a position of at least 0, got {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads bytes: all that are left, or as many as asked for unless the object ends."""
        left = max(self._size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        first = self._from_window(wanted)
        rest = wanted - len(first)
        if not rest:
            return first
        if rest >= self._next_length():
            data = self._fetch(rest)
            self._position += rest
            self._start, self._window = self._position, memoryview(b"")
            return first + data
        self._length = self._next_length()
        start = self._position
        self._window = memoryview(self._fetch(min(self._length, self._size - start)))
        self._start = start
        return first + self._from_window(rest)

    def readall(self) -> bytes:
        """Reads all that are left, in one request."""
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        """Reads into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._window = memoryview(b"")
            self._close()
        super().close()

    def _from_window(self, wanted: int) -> bytes:
        begin = self._position - self._start
        if not 0 <= begin < len(self._window):
            return b""
        data = bytes(self._window[begin : begin + wanted])
        self._position += len(data)
        return data

    def _next_length(self) -> int:
        gap = self._position - (self._start + len(self._window))
        goes_on = self._position > 0 and 0 <= gap <= self._length
        return min(self._length * 2, MOST_BYTES) if goes_on else FIRST_BYTES

    def _fetch(self, length: int) -> bytes:
        data = self._read_range(self._position, length)
        if len(data) != length:
            raise OSError(f"expected {length:,} bytes at {self._position:,}, got {len(data):,}")
        return data
