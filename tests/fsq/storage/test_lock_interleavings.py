"""Of jobs that come to one output at the same moment one is let in, whatever the order of steps."""

import contextlib
import errno
import fcntl
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders.interleaving import Actor, Schedule, interleavings

from fsq.errors import RequestError
from fsq.storage import filesystem, lease
from fsq.storage.directory_lock import LOCK_FILE, locked
from tools import disk_filesystem as _  # noqa: F401 - makes disk:// known

pytestmark = pytest.mark.slow

SECONDS_OF_WORK = 40.0  # of virtual time: longer than two renewals of a lease


class Visits:
    """Who is at work in a directory, and what became of everybody who came."""

    def __init__(self, schedule: Schedule, directory: str):
        self.inside: list[str] = []
        self.fates: dict[str, str] = {}
        self._schedule, self._directory = schedule, directory

    def start(self, name: str, at: float = 0.0) -> None:
        self._schedule.start(functools.partial(self._visit, name), at)

    def _visit(self, name: str) -> None:
        """Takes the lock, works for a while and leaves; or is refused."""
        try:
            with locked(self._directory):
                self.inside.append(name)
                assert len(self.inside) == 1, f"{self.inside} are at work at the same time"
                self._schedule.step(SECONDS_OF_WORK)
                self.inside.remove(name)
            self.fates[name] = "let in"
        except RequestError as error:
            assert "expected no other run at work here, found " in str(error)
            self.fates[name] = "refused"


def stepping(schedule: Schedule, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that lets others go on before it is called."""

    def step(*arguments: Any, **named: Any) -> Any:
        schedule.step()
        return function(*arguments, **named)

    return step


def run_visits(schedule: Schedule, directory: str, starts: Sequence[float]) -> dict[str, str]:
    visits = Visits(schedule, directory)
    for number, at in enumerate(starts):
        visits.start(f"job {number}", at)
    schedule.run()
    return visits.fates


@contextlib.contextmanager
def steps_of_a_disk(schedule: Schedule) -> Iterator[None]:
    """Every call of the system in which the lock is taken or left is a step."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "fstat", "remove"):
            patch.setattr(os, name, stepping(schedule, getattr(os, name)))
        patch.setattr(fcntl, "flock", stepping(schedule, fcntl.flock))
        yield


@pytest.mark.parametrize(
    "starts",
    [(0, 0, 0), (0, SECONDS_OF_WORK, SECONDS_OF_WORK)],
    ids=["at the same moment", "when the first leaves"],
)
def test_on_a_disk_one_job_is_at_work_at_a_time(tmp_path: Path, starts: Sequence[float]):
    orders = 0
    for schedule in interleavings(switches=2):
        with steps_of_a_disk(schedule):
            fates = run_visits(schedule, str(tmp_path), starts)
        assert len(fates) == len(starts) and "let in" in fates.values()
        assert list(tmp_path.iterdir()) == []
        orders += 1
    assert orders > 50


class Ended:
    """A threading.Event whose wait is one of the schedule."""

    def __init__(self, schedule: Schedule):
        self._schedule = schedule
        self._set = False
        self._waiting: Actor | None = None

    def wait(self, seconds: float) -> bool:
        self._waiting = self._schedule.current()
        if not self._set:
            self._schedule.step(seconds)
        return self._set

    def set(self) -> None:
        self._set = True
        if self._waiting is not None:
            self._waiting.wake = self._schedule.now


class Keeper:
    """A threading.Thread of the schedule."""

    def __init__(self, schedule: Schedule, target: Callable[[], None], **options: object):
        self._schedule, self._target = schedule, target

    def start(self) -> None:
        self._actor = self._schedule.start(self._target)

    def join(self) -> None:
        while not self._actor.done:
            self._schedule.step(0.001)


@contextlib.contextmanager
def steps_of_a_store(schedule: Schedule) -> Iterator[None]:
    """Every access to the lease is a step; pauses take virtual time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("exists", "read", "write", "remove"):
            patch.setattr(filesystem, name, stepping(schedule, getattr(filesystem, name)))
        times = SimpleNamespace(sleep=schedule.step, monotonic=lambda: schedule.now)
        patch.setattr(lease, "time", times)
        threads = SimpleNamespace(
            Event=functools.partial(Ended, schedule), Thread=functools.partial(Keeper, schedule)
        )
        patch.setattr(lease, "threading", threads)
        yield


@pytest.fixture(params=["a disk without locks", "a store"])
def directory(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "a store":
        return f"disk://{tmp_path}/out"

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    return str(tmp_path / "out")


@pytest.mark.parametrize(
    ("later", "left_behind"), [(0.0, False), (0.5, False), (1.0, False), (30.0, False), (0.0, True)]
)
def test_in_a_store_one_job_is_let_in(
    directory: str, tmp_path: Path, later: float, left_behind: bool
):
    """Of jobs that come within the time that the first one takes.

    A store cannot create a file exclusively, so this holds where a job's look at the lease and
    its own writing are less than a second apart.
    """
    out = tmp_path / "out"
    for schedule in interleavings(switches=1 if left_behind else 2):
        out.mkdir(parents=True, exist_ok=True)
        if left_behind:
            (out / LOCK_FILE).write_text('{"owner": "process 1 on elsewhere", "beat": "1"}')
        with steps_of_a_store(schedule):
            fates = run_visits(schedule, directory, (0.0, later))
        assert sorted(fates.values()) == ["let in", "refused"]
        assert not out.exists() or list(out.iterdir()) == []
