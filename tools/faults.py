"""What happens to a job in a process of its own: the command line, disturbed as told."""

import ctypes
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from fsq.storage import filesystem, lease
from tools import disk_filesystem as _  # noqa: F401 - makes disk:// known

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
    disturb: str | None = None,
    at: int = 0,
    report: str | None = None,
    streams: str | None = None,
    lost_streams: str | None = None,
    powerless: bool = False,
    seconds_between_renewals: float | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Runs the command line.

    Args:
      arguments: Its arguments.
      directory: Where to run it.
      output: The folder whose changes are counted.
      disturb: What happens; see `disturb_by`.
      at: Before, or amid, which change of the output.
      report: File for the changes and the units encoded, if the process gets that far.
      streams: Start of the names of two files for stdout and stderr.
      lost_streams: What is wrong with its streams; see `lose_streams`.
      powerless: Whether permissions count, for root too.
      seconds_between_renewals: Of the lease on an output elsewhere.
      environment: Variables that are set for it.
    """
    os.environ.update(environment)
    os.chdir(directory)
    if streams is not None:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{streams}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if lost_streams is not None:
        lose_streams(lost_streams)
    if powerless:
        give_up_power()
    if seconds_between_renewals is not None:
        lease.SECONDS_BETWEEN_RENEWALS = seconds_between_renewals
    from pipeline import cli

    changes = Changes(output, at, disturb_by(disturb, output) if disturb else None)
    if disturb is not None or report is not None:
        changes.watch()
    encoded = note_units()
    sys.argv = ["fsq", *arguments]
    try:
        cli.main()
    finally:
        if report is not None:
            content = {"changes": changes.made, "encoded": sorted(encoded)}
            Path(report).write_text(json.dumps(content))


def disturb_by(name: str, output: str) -> Callable[[], object]:
    """Returns what disturbs a job in its middle.

    'kill': SIGKILL. 'full': the disk of the output, a tmpfs, has no room any
    more. 'limit': files can be no longer than 500 bytes. 'gone': somebody
    removes the whole output. 'interrupt': Ctrl-C. 'wait': the process stops,
    until somebody lets it go on. 'sleep': one thread stands still for a while.
    """
    match name:
        case "kill":
            return lambda: os.kill(os.getpid(), signal.SIGKILL)
        case "full":
            return lambda: resize_disk(output, None)
        case "limit":
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        case "gone":
            # Other threads go on writing into it meanwhile.
            return lambda: filesystem.remove(output)
        case "interrupt":
            return lambda: os.kill(os.getpid(), signal.SIGINT)
        case "wait":
            return lambda: os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            return lambda: time.sleep(3)
    raise ValueError(f"expected a disturbance, got {name!r}")


def resize_disk(mount_point: str, size_bytes: int | None) -> None:
    """Gives a tmpfs another size; None: just what it holds."""
    while True:
        stat = os.statvfs(mount_point)
        held = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        size = held if size_bytes is None else size_bytes
        command = ["mount", "-o", f"remount,size={size}", mount_point]
        done = subprocess.run(command, capture_output=True, check=False)
        # Another thread may just have written more.
        if done.returncode == 0 or size_bytes is not None:
            done.check_returncode()
            return


def lose_streams(how: str) -> None:
    """Makes stdin, stdout and stderr 'closed', or the last two 'full' or 'unread'."""
    match how:
        case "closed":
            for number in (0, 1, 2):
                os.close(number)
            return
        case "full":
            target = os.open("/dev/full", os.O_WRONLY)
        case _:
            source, target = os.pipe()
            os.close(source)
    os.dup2(target, 1)
    os.dup2(target, 2)


def give_up_power() -> None:
    """Takes from root the right to read and write whatever permissions say (capset(2))."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    both = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, both) == 0
    both[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, both) == 0


def note_units() -> list[str]:
    """Returns a list that will hold the name of every unit this process encodes."""
    import pipeline.stages.encode_units

    encode_unit = pipeline.stages.encode_units.encode_unit
    encoded: list[str] = []

    @functools.wraps(encode_unit)
    def noting(unit: Any, *rest: Any, **named: Any) -> Any:
        encoded.append(unit.name)
        return encode_unit(unit, *rest, **named)

    pipeline.stages.encode_units.encode_unit = noting
    return encoded


class Changes:
    """Counts what this process changes in a folder, and disturbs it at one of these changes.

    The interpreter itself announces them, whoever makes them; a write to a file
    counts as one more, and is disturbed in its middle.

    Attributes:
      made: (what, path relative to the folder) of each.
    """

    def __init__(self, folder: str, at: int, disturb: Callable[[], object] | None):
        self.made: list[tuple[str, str]] = []
        self._folder = os.path.abspath(folder)
        self._at = at
        self._disturb = disturb

    def watch(self) -> None:
        """Counts changes of files from now on."""
        sys.addaudithook(self._announced)
        filesystem.open = self._open  # type: ignore[attr-defined]

    def count(self, what: str, path: str, first: Callable[[], object] = lambda: None) -> None:
        """Adds a change that is about to be made; disturbs it, after doing `first`."""
        path = os.path.normpath(path)
        if path != self._folder and not path.startswith(self._folder + "/"):
            return
        number = len(self.made)
        self.made.append((what, os.path.relpath(path, self._folder)))
        if number == self._at and self._disturb is not None:
            disturb, self._disturb = self._disturb, None
            first()
            disturb()

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

    def _open(self, path: str, mode: str, **options: Any) -> BinaryIO:
        file = open(path, mode, **options)  # noqa: SIM115
        return _Cut(file, path, self) if "w" in mode else file  # type: ignore[return-value]


class _Cut:
    """A file open for writing, each write of which can be cut in the middle."""

    def __init__(self, file: Any, path: str, changes: Changes):
        self._file = file
        self._path = os.path.abspath(path)
        self._changes = changes

    def write(self, data: bytes) -> int:
        written = 0

        def write_half() -> None:
            nonlocal written
            written = self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._changes.count("write", self._path, write_half)
        return written + self._file.write(data[written:])

    def __enter__(self) -> "_Cut":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
