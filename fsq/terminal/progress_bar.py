"""Progress bar on stderr or in a notebook; a line every ten seconds if neither can show one."""

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

from fsq.terminal.notebook import ShowInCell, cell_output

SECONDS_BETWEEN_LINES = 10.0

Update = Callable[[int, str], None]


@contextlib.contextmanager
def progress_bar(label: str, total: int, first: int = 0) -> Iterator[Update]:
    """Yields update(done, note), where `done` counts from `first` up to `total`.

    On a terminal: a bar with the count, the note, the elapsed and the remaining
    time, in one line. In a notebook: the same below the cell. Elsewhere, as in a
    log: at most one line every ten seconds.
    """
    if (show := cell_output()) is not None:
        yield _CellLine(label, total, first, show)
        return
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


class _Line:
    """The text of a line: what is done, the note, the elapsed and the remaining time."""

    def __init__(self, label: str, total: int, first: int):
        self.label, self.total, self.first = label, total, first
        self.began = time.monotonic()
        self._done_at_first: int | None = None

    def at_first(self) -> str:
        return f"{self.label}: {self.first:,} of {self.total:,}  {_note_at(self.first)}".rstrip()

    def at(self, done: int, note: str) -> str:
        if self._done_at_first is None:
            self._done_at_first = done
        passed = time.monotonic() - self.began
        gained = done - self._done_at_first
        left = f", {(self.total - done) * passed / gained:.0f} s left" if gained else ""
        return f"{self.label}: {done:,} of {self.total:,}  {note}  {passed:.0f} s passed{left}"


class _CellLine:
    def __init__(self, label: str, total: int, first: int, show: ShowInCell):
        self.line, self.total, self.show = _Line(label, total, first), total, show
        show(first, total, self.line.at_first())

    def __call__(self, done: int, note: str) -> None:
        self.show(done, self.total, self.line.at(done, note))


class _Lines:
    def __init__(self, label: str, total: int, first: int, console: Console):
        self.line, self.total, self.console = _Line(label, total, first), total, console
        self.printed = time.monotonic()
        if first:
            self._print(self.line.at_first())

    def __call__(self, done: int, note: str) -> None:
        now = time.monotonic()
        line = self.line.at(done, note)
        if done < self.total and now - self.printed < SECONDS_BETWEEN_LINES:
            return
        if done == self.total and self.printed == float("inf"):
            return
        self._print(line)
        self.printed = float("inf") if done == self.total else now

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _note_at(first: int) -> str:
    return "resumed" if first else ""
