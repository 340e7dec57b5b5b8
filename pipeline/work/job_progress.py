"""Job progress: counts the parts that a job commits, so it works with any Beam runner."""

import contextlib
import threading
import time
from collections.abc import Iterator

from fsq.storage import filesystem
from fsq.terminal.progress_bar import Update, progress_bar
from pipeline.job.job import Job
from pipeline.work.unit_files import read_status

POLL_SECONDS = 0.5


@contextlib.contextmanager
def show_progress(job: Job) -> Iterator[None]:
    """Shows images done of total, images/s, rejects and time left while the block runs."""
    stop = threading.Event()
    with progress_bar("tokenize", job.num_records) as update:
        poller = _Poller(job, update)
        thread = threading.Thread(target=poller.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
            # The parts are removed by now, the last ones perhaps uncounted.
            poller.images = job.num_records
        finally:
            stop.set()
            thread.join()


class _Poller:
    def __init__(self, job: Job, update: Update):
        self.job = job
        self.update = update
        self.images = self.rejects = 0
        self._seen: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        self._poll()
        # Parts of an earlier run do not count for the speed of this one.
        began, before = time.monotonic(), self.images
        while not stop.wait(POLL_SECONDS):
            self._poll()
            self._show(began, before)
        self._show(began, before)

    def _poll(self) -> None:
        for entry in filesystem.list_files(self.job.parts):
            if entry.name in self._seen or not entry.name.endswith(".json"):
                continue
            # None if the work folder was removed because the job is done.
            status = read_status(self.job, entry.name.removesuffix(".json"))
            if status is None:
                continue
            self._seen.add(entry.name)
            self.images += status.num_listed
            self.rejects += len(status.rejects)

    def _show(self, began: float, before: int) -> None:
        speed = (self.images - before) / max(time.monotonic() - began, 1e-9)
        self.update(self.images, f"{speed:,.0f} images/s  {self.rejects:,} rejects")
