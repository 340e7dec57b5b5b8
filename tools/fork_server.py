"""A fork server: real processes that have TensorFlow, Beam and the pipeline loaded at once.

Loading them takes seconds. The server has loaded them and run nothing of them; a
process forked from it is there in milliseconds, and can be killed, limited or
left behind like any other.

    child = start(run_fsq, arguments=[...], directory="...")
    child.kill()
    child.wait()
"""

import atexit
import contextlib
import multiprocessing
import multiprocessing.util  # first: its exit function, which waits for children, then runs last
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

multiprocessing.get_context("forkserver").set_forkserver_preload(
    [
        "tensorflow",
        "tensorflow_datasets",
        "keras",
        "pipeline.cli",
        "pipeline.run",
        "pipeline.reports.verify",
        "pipeline.work.job_progress",
        "tools.faults",
        # What Beam itself loads when it runs.
        "apache_beam.runners.portability.fn_api_runner.fn_runner",
    ]
)


class Child(ForkServerProcess):
    """A forked process: a session of its own, nothing on its stdin."""

    def run(self) -> None:
        """Does what it was started for; in the child."""
        os.setsid()
        # Shells start background commands with SIGINT ignored, which children inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        super().run()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends it a signal, if it is still there; not to the processes it started."""
        assert self.pid is not None
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_seconds: float = 120) -> int:
        """Returns its exit code, or minus the signal that ended it.

        Raises:
          TimeoutError: It hangs; it has been killed.
        """
        self.join(timeout_seconds)
        if self.exitcode is None:
            self.kill()
            raise TimeoutError(f"process {self.pid}: expected an end in {timeout_seconds:g} s")
        return self.exitcode


def start(function: Callable[..., object], **arguments: Any) -> Child:
    """Calls a function of a module in a process of its own."""
    child = Child(target=function, kwargs=arguments)
    child.start()
    return child


@atexit.register
def kill_children() -> None:
    """Leaves no process behind, stopped ones neither."""
    for child in multiprocessing.active_children():
        if isinstance(child, Child):
            child.kill()
