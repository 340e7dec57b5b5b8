"""Progress bar on stderr; a line every ten seconds if that is not a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0

Update = Callable[[int, str], None]


@contextlib.contextmanager
def progress_bar(label: str, total: int, first: int = 0) -> Iterator[Update]:
    """Yields update(done, note), where `done` counts from `first` up to `total`.

    On a terminal: a bar with the count, the note, the elapsed and the remaining
    time, in one line. Elsewhere, as in a log: at most one line every ten seconds.
    """
    # Without emoji, for which rich would import a module in the thread that shows the progress.
    console = Console(stderr=True, emoji=False)
    if not console.is_terminal:
        yield _Lines(label, total, first, console)
        return
    whole = Column(no_wrap=True)  # where the terminal is narrow, only the note gives way
    columns = (
        TextColumn("{task.description}", table_column=whole.copy()),
        BarColumn(bar_width=10, table_column=whole.copy()),
        MofNCompleteColumn(table_column=whole.copy()),
        _Note(),
        TimeElapsedColumn(table_column=whole.copy()),
        TextColumn("left", table_column=whole.copy()),
        TimeRemainingColumn(table_column=whole.copy()),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, completed=first, note=_note_at(first))
        yield lambda done, note: progress.update(task, completed=done, note=note)


class _Note(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class _Lines:
    def __init__(self, label: str, total: int, first: int, console: Console):
        self.label, self.total, self.console = label, total, console
        self.began = self.printed = time.monotonic()
        self.first: int | None = None
        if first:
            self._print(f"{label}: {first:,} of {total:,}  {_note_at(first)}")

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
        self._print(
            f"{self.label}: {done:,} of {self.total:,}  {note}  "
            f"{now - self.began:.0f} s passed" + ("" if left is None else f", {left:.0f} s left")
        )
        self.printed = float("inf") if done == self.total else now

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _note_at(first: int) -> str:
    return "resumed" if first else ""
