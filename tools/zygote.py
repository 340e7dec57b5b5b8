"""A process with TensorFlow, Beam and the pipeline loaded, in which nothing of them has run.

Loading them takes seconds. A copy of the process is there in milliseconds and
is a real one: it can be killed, limited or left behind like any other. Each
copy calls one function, `tools.faults.run_fsq` for example, and ends.

    with Zygote() as zygote:
        child = zygote.start("tools.faults:run_fsq", arguments=[...], directory="...")
        child.kill()
        child.wait()
"""

import dataclasses
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.005
# What a copy would otherwise load each time; the last is what Beam loads when it runs.
LOADED = (
    "tensorflow",
    "tensorflow_datasets",
    "keras",
    "pipeline.cli",
    "pipeline.run",
    "pipeline.reports.verify",
    "pipeline.work.job_progress",
    "tools.faults",
    "apache_beam.runners.portability.fn_api_runner.fn_runner",
)


class Child:
    """A running copy.

    Attributes:
      pid: Its process id, and that of its process group.
    """

    def __init__(self, pid: int, zygote: "Zygote"):
        self.pid = pid
        self._zygote = zygote

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends it a signal, if it is still there; not to the processes it started."""
        if self.running():
            os.kill(self.pid, number)

    def running(self) -> bool:
        """Says whether the process is still alive."""
        return self.pid not in self._zygote.ended(0)

    def wait(self, timeout_seconds: float = 120) -> int:
        """Returns its exit code, or minus the signal that ended it.

        Raises:
          TimeoutError: It hangs; it has been killed.
        """
        ended = self._zygote.ended(timeout_seconds, self.pid)
        if self.pid not in ended:
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"process {self.pid}: expected an end in {timeout_seconds:g} s")
        return ended[self.pid]


@dataclasses.dataclass
class Zygote:
    """The process; closed with the block, and its copies with it."""

    def __enter__(self) -> "Zygote":
        self._ended: dict[int, int] = {}
        self._pids: list[int] = []
        self._rest = b""
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)},
        )
        assert next(self._messages(300)) == {"ready": True}
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, function: str, **arguments: Any) -> Child:
        """Calls '<module>:<function>' in a copy; what it returns is the exit code, None is 0."""
        assert self._process.stdin is not None
        request = json.dumps({"function": function, "arguments": arguments})
        self._process.stdin.write(request.encode() + b"\n")
        self._process.stdin.flush()
        while not self._pids:
            self._take(next(self._messages(30)))
        return Child(self._pids.pop(), self)

    def ended(self, timeout_seconds: float, pid: int | None = None) -> dict[int, int]:
        """Returns the ends known by now; waits for one of them if it is named."""
        if pid not in self._ended:
            for message in self._messages(timeout_seconds):
                self._take(message)
                if pid in self._ended:
                    break
        return self._ended

    def _take(self, message: dict[str, int]) -> None:
        if "status" in message:
            self._ended[message["pid"]] = message["status"]
        else:
            # The system gives numbers of ended processes to new ones, sooner or later.
            self._ended.pop(message["pid"], None)
            self._pids.append(message["pid"])

    def _messages(self, timeout_seconds: float) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                yield json.loads(line)
            if not select.select([descriptor], [], [], timeout_seconds)[0]:
                return
            data = os.read(descriptor, 65536)
            assert data, "the zygote has died"
            self._rest += data


def serve() -> None:
    """Makes a copy for each line on stdin; says which, and how each of them ended."""
    answers, errors = os.dup(1), os.dup(2)
    # What libraries say when they are loaded is no answer, and no news.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for name in LOADED:
        importlib.import_module(name)
    os.dup2(errors, 2)
    _answer(answers, {"ready": True})
    pids: set[int] = set()
    rest = b""
    while True:
        if select.select([0], [], [], SECONDS_BETWEEN_LOOKS if pids else None)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    os.close(answers)
                    _work(json.loads(line))
                pids.add(pid)
                _answer(answers, {"pid": pid})
        for pid in sorted(pids):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                pids.remove(pid)
                _answer(answers, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})
    for pid in pids:
        os.killpg(pid, signal.SIGKILL)


def _answer(descriptor: int, message: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")


def _work(request: dict[str, Any]) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        module, _, name = request["function"].partition(":")
        code = getattr(importlib.import_module(module), name)(**request["arguments"]) or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    # As every process ends: a thread that is no daemon and hangs would keep it.
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
