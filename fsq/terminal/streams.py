"""Standard streams that are closed, broken or full: no reason for a command to end.

A file that is opened in place of a closed stream would receive its text, so the
null device takes the place first.
"""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

STDIN, STDOUT, STDERR = 0, 1, 2


class _LastingFile(io.FileIO):
    """Keeps the first error of a write instead of raising it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes data; reports it as written if it cannot be."""
        try:
            # None: another process that shares the stream has set it to be non-blocking.
            while (count := super().write(data)) is None:
                select.select((), (self,), ())
            return count
        except OSError as error:
            self.error = self.error or error
            return len(data)


def open_standard_streams() -> None:
    """Makes the three streams usable for the rest of this process, whatever they are.

    Leaves `sys.stdout` and `sys.stderr` alone if somebody has replaced them.
    """
    # What is written to a closed stdout fails, and so is known to be lost; nobody misses stderr.
    for number, mode in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lasting(sys.stdout, STDOUT)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, STDERR)


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    file = io.BufferedWriter(_LastingFile(number, "w", closefd=False))
    errors = getattr(stream, "errors", None) or "strict"
    return io.TextIOWrapper(
        file,
        encoding=getattr(stream, "encoding", None),
        # A file name that is no text is shown, and fails nothing.
        errors="backslashreplace" if errors == "strict" else errors,
        line_buffering=True,
    )


def error_of_stdout() -> OSError | None:
    """Returns why something written to stdout was lost; None if nothing was."""
    file = _file_of_stdout()
    with contextlib.suppress(ValueError):  # closed
        sys.stdout.flush()
    return None if file is None else file.error


@contextlib.contextmanager
def beside_the_result() -> Iterator[None]:
    """What the block prints may be lost: the result is on the disk."""
    before = error_of_stdout()
    yield
    error_of_stdout()
    if (file := _file_of_stdout()) is not None:
        file.error = before


def _file_of_stdout() -> _LastingFile | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _LastingFile) else None
