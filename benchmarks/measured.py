"""Runs a command and measures its wall time, CPU time and peak memory.

Linux only: the figures are read from /proc. All descendants of the command are included,
such as the servers of Ray.
"""

import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS_BETWEEN_SAMPLES = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
# Indices of fields in /proc/PID/stat after the name; see proc(5).
PARENT, USER, SYSTEM, BORN = 1, 11, 12, 19


class FailedError(RuntimeError):
    """A command failed, or did not end in time."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes:
      seconds: Wall time from start to end.
      cpu_seconds: User and system time of all its processes.
      peak_mb: Peak resident memory in MB of 10^6 bytes: the anonymous memory of all
        processes, plus the mapped files and shared memory of the process with most of
        them. Pages shared after a fork count for each process.
      output: Its stdout.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def run_measured(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    timeout_seconds: float,
) -> Cost:
    """Runs a command and leaves none of its processes behind.

    Args:
      command: The command and its arguments.
      cwd: Its working directory.
      environment: Variables in addition to those of this process.
      log: A file for its stderr.
      timeout_seconds: It is killed after this time.

    Raises:
      FailedError: It failed; the message is the last line of its stderr.
    """
    before = _seconds_of_children()
    began = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        try:
            output, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"did not end within {timeout_seconds:.0f} s") from error
        finally:
            seconds = time.perf_counter() - began
            sampler.stop()
            _end(process.pid, sampler.born)
            process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        raise FailedError(said[-1] if said else f"ended with {process.returncode}")
    # Waiting sums the time of processes up to their end, but misses those that are not waited
    # for; samples miss the end of each. Neither counts anything twice.
    cpu_seconds = max(_seconds_of_children() - before, sampler.cpu_seconds)
    return Cost(seconds, cpu_seconds, sampler.peak_bytes / 1e6, output.decode())


class _Sampler(threading.Thread):
    def __init__(self, root: int):
        super().__init__(daemon=True)
        self.peak_bytes = 0
        # When each process started, because process ids are reused.
        self.born: dict[int, str] = {}
        self._root = root
        self._cpu: dict[int, float] = {}
        self._done = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    def run(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN_SAMPLES):
            self._sample()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _sample(self) -> None:
        anonymous, shared = 0, 0
        for pid in {*_descendants(self._root), *self._cpu}:
            # It may have ended in the meantime.
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = _stat(pid)
                if self.born.setdefault(pid, fields[BORN]) != fields[BORN]:
                    continue
                self._cpu[pid] = _seconds(fields)
                memory = _memory(pid)
                anonymous += memory.get("RssAnon", 0)
                shared = max(shared, memory.get("RssFile", 0) + memory.get("RssShmem", 0))
        self.peak_bytes = max(self.peak_bytes, anonymous + shared)


def _stat(pid: int) -> list[str]:
    """Returns the fields from the third on; the second, a name, may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _seconds(fields: list[str]) -> float:
    return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = (line.split() for line in lines if line.startswith("Rss"))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in found}


def _descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(name)] = int(_stat(int(name))[PARENT])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _end(root: int, born: Mapping[int, str]) -> None:
    """Kills what is left of a command: its process group, and processes that left the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(root, signal.SIGKILL)
    for pid, when in born.items():
        with contextlib.suppress(OSError, IndexError):
            if _stat(pid)[BORN] == when:
                os.kill(pid, signal.SIGKILL)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
