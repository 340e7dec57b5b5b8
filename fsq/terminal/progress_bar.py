"""Progress bar on stderr; a line every ten seconds if that is not a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0

Update = Callable[[int, str], None]


@contextlib.contextmanager
def progress_bar(label: str, total: int) -> Iterator[Update]:
    """Yields update(done, note), where `done` counts up to `total`.

    On a terminal: a bar with the count, the note, the elapsed and the remaining
    time. Elsewhere, as in a log: at most one line every ten seconds.
    """
    # Without emoji, for which rich would import a module in the thread that shows the progress.
    console = Console(stderr=True, emoji=False)
    if not console.is_terminal:
        yield _Lines(label, total, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, note="")
        yield lambda done, note: progress.update(task, completed=done, note=note)


class _Lines:
    def __init__(self, label: str, total: int, console: Console):
        self.label, self.total, self.console = label, total, console
        self.began = self.printed = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, note: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if done < self.total and now - self.printed < SECONDS_BETWEEN_LINES:
            return
        if done == self.total and self.printed == float("inf"):
            return
        gained = done - self.first
        left = (self.total - done) * (now - self.began) / gained if gained else None
        self.console.print(
            f"{self.label}: {done:,} of {self.total:,}  {note}  "
            f"{now - self.began:.0f} s passed" + ("" if left is None else f", {left:.0f} s left"),
            highlight=False,
            soft_wrap=True,
        )
        self.printed = float("inf") if done == self.total else now
