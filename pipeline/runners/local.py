"""FnApiRunner, Beam's local runner: its workers are threads of this process."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from fsq.cores import count_cores
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
        workers = count_cores() + 1
        return ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]

    def check(self, options: PipelineOptions) -> None:
        """See `refuse_worker_processes`."""
        refuse_worker_processes(options)

    @contextlib.contextmanager
    def supervise(self, job: Job) -> Iterator[None]:
        """Lets workers report a failure in memory, and makes Ctrl-C stop their work.

        On an exception in the main thread Beam closes its channels while workers
        still run, and each of them prints a traceback. So the first Ctrl-C raises
        nothing: units and shards return early, and the graph completes. The second
        one is raised as usual.

        Raises:
          KeyboardInterrupt: The run was interrupted; all workers have ended.
        """
        with workers_in_this_process(job), _first_interrupt_ends(job) as interrupted:
            try:
                yield
            finally:
                if interrupted.is_set():
                    raise KeyboardInterrupt


def refuse_worker_processes(options: PipelineOptions) -> None:
    """Refuses the mode of Beam's local runner in which workers are processes.

    Raises:
      RequestError: The options choose it.
    """
    if options.view_as(DirectOptions).direct_running_mode == WORKER_PROCESSES:
        raise RequestError(
            f"beam options: expected threads, got --direct_running_mode={WORKER_PROCESSES}. Worker "
            "processes are slower here (50,000 small images: 33 s, with threads 19 s), and Beam "
            "waits for ever for one that dies. Leave the option out, or take multi_threading."
        )


@contextlib.contextmanager
def _first_interrupt_ends(job: Job) -> Iterator[threading.Event]:
    """Makes the first SIGINT stop the job's work; yields the event that is then set.

    Only the main thread receives signals. A handler that the caller installed is kept.
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
