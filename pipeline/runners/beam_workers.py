"""The workers of Beam's local runner: those that die are noticed, those that fail make no noise."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.runners.worker import sdk_worker

SECONDS_BETWEEN_ANSWERS = 0.2


@contextlib.contextmanager
def watched_workers(on_death: Callable[[str], object]) -> Iterator[list[str]]:
    """Lets a run inside fail when a worker process dies; Beam might wait for it for ever.

    Args:
      on_death: Called at once with the reason, so that the others can stop.

    Yields:
      A list that will hold the reasons.
    """
    deaths: list[str] = []

    def note(reason: str) -> None:
        deaths.append(reason)
        on_death(reason)

    known = WorkerHandler._registered_environments
    before = known[python_urns.SUBPROCESS_SDK]
    known[python_urns.SUBPROCESS_SDK] = (functools.partial(_WatchedWorker, note), before[1])
    hook = threading.excepthook
    threading.excepthook = functools.partial(_report, hook)
    try:
        yield deaths
    finally:
        known[python_urns.SUBPROCESS_SDK] = before
        threading.excepthook = hook


def quiet_workers() -> None:
    """Keeps Beam's worker threads from printing the traceback of an error that is raised anyway.

    For good: after Ctrl-C a thread may fail later than the run that it belongs to.
    """
    sdk_worker.print = lambda *values, **options: None


class _WatchedWorker(SubprocessSdkWorkerHandler):
    """Beam's own handler, that answers in the place of a dead worker."""

    def __init__(self, note: Callable[[str], object], *arguments: Any):
        super().__init__(*arguments)
        self._note = note
        self._closed = threading.Event()

    def start_worker(self) -> None:
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(target=self._run, name="run_worker")
        self.worker_thread.start()

    def close(self) -> None:
        self._closed.set()
        super().close()

    def _run(self) -> None:
        try:
            self.worker.run()
            reason = "Worker subprocess ended before its work"
        except RuntimeError as error:
            reason = str(error)
        else:
            if self._closed.is_set():
                return
        self._note(reason)
        # Questions that are still to come get no other answer either.
        while not self._closed.wait(SECONDS_BETWEEN_ANSWERS):
            for number, future in list(self.control_conn._futures_by_id.items()):
                response = beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=reason)
                future.set(response)


def _report(hook: Callable[[Any], object], arguments: threading.ExceptHookArgs) -> None:
    """Shows what ended a thread, unless it listened to a worker that is gone."""
    if not issubclass(arguments.exc_type, grpc.RpcError):
        hook(arguments)
