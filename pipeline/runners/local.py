"""FnApiRunner, Beam's local runner: its workers are threads of this process."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from fsq.errors import RequestError
from pipeline.job.job import Job
from pipeline.runners.base import Runner
from pipeline.work.signals import interrupt, workers_in_this_process

WORKER_PROCESSES = "multi_processing"


class LocalRunner(Runner):
    """Runs units in threads, one more than there are cores."""

    @property
    def default_options(self) -> list[str]:
        """Threads; Beam's own default is a single worker."""
        workers = len(os.sched_getaffinity(0)) + 1
        return ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]

    def check(self, options: PipelineOptions) -> None:
        """See `refuse_worker_processes`."""
        refuse_worker_processes(options)

    @contextlib.contextmanager
    def supervise(self, job: Job) -> Iterator[None]:
        """Lets workers leave a message in memory, and Ctrl-C end their work.

        Beam answers an exception in its main thread by closing its channels under
        the running workers, each of which then prints a traceback. So the first
        Ctrl-C raises nothing: units and shards end early, and the graph is done.
        The second one is raised as usual.

        Raises:
          KeyboardInterrupt: It was interrupted; all workers have ended.
        """
        with workers_in_this_process(job), _first_interrupt_ends(job) as interrupted:
            try:
                yield
            finally:
                if interrupted.is_set():
                    raise KeyboardInterrupt


def refuse_worker_processes(options: PipelineOptions) -> None:
    """Refuses Beam's worker processes on one machine.

    Raises:
      RequestError: The options ask for them.
    """
    if options.view_as(DirectOptions).direct_running_mode == WORKER_PROCESSES:
        raise RequestError(
            f"beam options: expected threads, got --direct_running_mode={WORKER_PROCESSES}. Worker "
            "processes are slower here (50,000 small images: 33 s, with threads 19 s), and Beam "
            "waits for ever for one that dies. Leave the option out, or take multi_threading."
        )


@contextlib.contextmanager
def _first_interrupt_ends(job: Job) -> Iterator[threading.Event]:
    """Turns the first SIGINT into an end of the job's work; yields what says that it came.

    Signals reach the main thread alone; a handler of somebody else's is left in its place.
    """
    interrupted = threading.Event()
    handler = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or handler is not signal.default_int_handler
    ):
        yield interrupted
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, handler)
        interrupt(job)
        interrupted.set()

    signal.signal(signal.SIGINT, end)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, handler)
