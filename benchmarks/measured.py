"""Runs a command and measures its wall time, CPU time and peak memory.

Linux only: elsewhere nobody says how much memory is shared. A command's processes
are those that descend from it, Ray's servers among them.
"""

import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

SECONDS_BETWEEN_SAMPLES = 0.2


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
            _end(process.pid, sampler.processes)
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
        self.processes = {psutil.Process(root)}
        self._root = psutil.Process(root)
        self._cpu: dict[psutil.Process, float] = {}
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
        with contextlib.suppress(psutil.Error):
            self.processes.update(self._root.children(recursive=True))
        anonymous, shared = 0, 0
        for process in self.processes:
            # It may have ended meanwhile, and its number be another's.
            with contextlib.suppress(psutil.Error), process.oneshot():
                if not process.is_running():
                    continue
                times, memory = process.cpu_times(), process.memory_info()
                self._cpu[process] = times.user + times.system
                anonymous += memory.rss - memory.shared
                shared = max(shared, memory.shared)
        self.peak_bytes = max(self.peak_bytes, anonymous + shared)


def _end(root: int, processes: Iterable[psutil.Process]) -> None:
    """Ends what is left of a command: its process group, and what left that group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(root, signal.SIGKILL)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
