"""What happens to a job in a copy of the zygote: the command line, disturbed as told."""

import contextlib
import functools
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

# (event of the interpreter, where the path stands in its arguments, and a folder it is relative to)
CHANGES = {
    "open": (0, None),
    "os.rename": (0, None),
    "os.remove": (0, 1),
    "os.mkdir": (0, 2),
    "os.rmdir": (0, 1),
    "os.truncate": (0, None),
}


def run_fsq(
    arguments: list[str],
    directory: str,
    *,
    output: str = "out",
    kill_at: int | None = None,
    report: str | None = None,
    streams: str | None = None,
    file_bytes: int | None = None,
    user: int | None = None,
) -> None:
    """Runs the command line.

    Args:
      arguments: Its arguments.
      directory: Where to run it.
      output: The folder whose changes are counted.
      kill_at: Before which change this process is killed with SIGKILL.
      report: File for the changes and the units encoded, if the process gets that far.
      streams: Start of the names of two files for stdout and stderr.
      file_bytes: A limit on the size of files.
      user: Who to be.
    """
    os.chdir(directory)
    if streams is not None:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{streams}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    changes = Changes(output, kill_at)
    if kill_at is not None or report is not None:
        changes.watch()
    encoded = note_units()
    from pipeline import cli

    sys.argv = ["fsq", *arguments]
    try:
        cli.main()
    finally:
        if report is not None:
            content = {"changes": changes.made, "encoded": sorted(encoded)}
            Path(report).write_text(json.dumps(content))


def note_units() -> list[str]:
    """Returns a list that will hold the name of every unit this process encodes."""
    import pipeline.encode

    encode_unit = pipeline.encode.encode_unit
    encoded: list[str] = []

    @functools.wraps(encode_unit)
    def noting(unit: Any, *rest: Any, **named: Any) -> Any:
        encoded.append(unit.name)
        return encode_unit(unit, *rest, **named)

    pipeline.encode.encode_unit = noting
    return encoded


class Changes:
    """Counts what this process changes in a folder, and kills it before one of these changes.

    The interpreter itself announces them, whoever makes them; a write to a file
    counts as one more, and is cut in the middle.

    Attributes:
      made: (what, path relative to the folder) of each.
    """

    def __init__(self, folder: str, kill_at: int | None):
        self.made: list[tuple[str, str]] = []
        self._folder = os.path.abspath(folder)
        self._kill_at = kill_at

    def watch(self) -> None:
        from pipeline import storage

        sys.addaudithook(self._announced)
        storage.open = self._open  # type: ignore[attr-defined]

    def count(self, what: str, path: str, first: Callable[[], object] = lambda: None) -> None:
        """Adds a change that is about to be made, or ends here and now, after doing `first`."""
        path = os.path.normpath(path)
        if path != self._folder and not path.startswith(self._folder + "/"):
            return
        if len(self.made) == self._kill_at:
            first()
            os.kill(os.getpid(), signal.SIGKILL)
        self.made.append((what, os.path.relpath(path, self._folder)))

    def _announced(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        place, folder_place = CHANGES[event]
        path = arguments[place]
        folder = os.getcwd()
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif folder_place is not None and arguments[folder_place] >= 0:
            folder = os.readlink(f"/proc/self/fd/{arguments[folder_place]}")
        self.count(event, os.path.join(folder, os.fsdecode(path)))

    def _open(self, path: str, mode: str) -> BinaryIO:
        file = open(path, mode)  # noqa: SIM115
        return _Cut(file, path, self) if "w" in mode else file  # type: ignore[return-value]


class _Cut:
    """A file open for writing, each write of which can be cut in the middle."""

    def __init__(self, file: Any, path: str, changes: Changes):
        self._file = file
        self._path = os.path.abspath(path)
        self._changes = changes

    def write(self, data: bytes) -> int:
        self._changes.count("write", self._path, functools.partial(self._write_half, data))
        return self._file.write(data)

    def _write_half(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.write(data[: len(data) // 2])
            self._file.flush()

    def __enter__(self) -> "_Cut":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
