"""One run at a time in a directory: the others are refused, the dead are no obstacle."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fsq.errors import RequestError
from fsq.storage import lease
from fsq.storage.directory_lock import NO_LOCKS, locked
from tools.fork_server import Child
from tools.kills import Victim, contents, read_streams

pytestmark = pytest.mark.slow

SECONDS = 0.3  # between two renewals of a lease


@pytest.fixture(scope="module")
def victim(small_victim: Victim) -> Victim:
    return small_victim


@pytest.fixture(scope="module")
def remote(small_victim: Victim, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The same job, with its output in a store that has leases instead of locks."""
    return Victim(
        tmp_path_factory.mktemp("remote"),
        small_victim.config,
        arguments=small_victim.arguments,
        output="disk://out",
    )


def wait_until_stopped(child: Child) -> None:
    process = psutil.Process(child.pid)
    deadline = time.monotonic() + 60
    while process.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def check_refused(child: Child, place: Path, streams: str, owner: int) -> None:
    assert child.wait() == 2
    stderr = (place / f"{streams}.err").read_text()
    assert re.fullmatch(
        f"fsq: (disk://)?out: expected no other run at work here, found process {owner} of .+ on "
        f"{re.escape(socket.gethostname())}, since .+\\. Wait for it, stop it, or choose another "
        "directory\\.\n",
        "".join(line for line in stderr.splitlines(True) if not line.startswith("tokenize: ")),
    )
    assert (place / f"{streams}.out").read_text() == ""


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_second_run_is_refused_and_does_not_disturb_the_first(victim: Victim, more: list[str]):
    place = victim.place()
    first = victim.start(place, disturb="wait", at=40)
    wait_until_stopped(first)
    before = contents(place / "out")
    second = victim.start(place, *more, name="second")
    check_refused(second, place, "second", first.pid)
    assert contents(place / "out") == before
    first.kill(signal.SIGCONT)
    assert first.wait() == 0
    assert contents(place / "out") == victim.expected


def test_of_runs_that_start_at_the_same_moment_one_does_the_work(victim: Victim):
    for _ in range(3):
        place = victim.place()
        names = [f"run{number}" for number in range(3)]
        children = [
            victim.start(place, name=name, report=str(place / f"{name}.json")) for name in names
        ]
        codes = [child.wait() for child in children]
        reports = [json.loads((place / f"{name}.json").read_text()) for name in names]
        assert sorted(unit for report in reports for unit in report["encoded"]) == victim.encoded
        # Who comes late enough finds all done.
        assert set(codes) <= {0, 2} and 0 in codes
        assert contents(place / "out") == victim.expected


def test_a_lock_file_without_its_process_is_no_obstacle(victim: Victim):
    place = victim.place()
    (place / "out").mkdir()
    (place / "out" / ".lock").write_text("process 1 of root on elsewhere")
    assert victim.run(place) == 0, read_streams(place)
    assert contents(place / "out") == victim.expected


def test_a_store_without_folders_holds_the_same_dataset(victim: Victim, remote: Victim):
    def but_config(found: dict[str, bytes]) -> dict[str, bytes]:
        return {n: d for n, d in found.items() if n not in ("config.yaml", "manifest.json")}

    assert but_config(remote.expected) == but_config(victim.expected)
    assert list(remote.expected) == list(victim.expected)


def test_a_job_in_a_store_goes_on_after_a_kill_when_the_lease_has_run_out(remote: Victim):
    count = len(remote.moments)
    for number in range(8, count, count // 6):
        place = remote.place()
        faults = {"seconds_between_renewals": 0.05}
        killed = remote.start(place, disturb="kill", at=number, **faults).wait()
        assert killed == -signal.SIGKILL, remote.moments[number]
        report = place / "report.json"
        finished = (place / "out" / "manifest.json").exists()
        code = remote.start(place, report=str(report), **faults).wait()
        assert code == 0, (remote.moments[number], read_streams(place))
        found = contents(place / "out")
        assert found == remote.expected, remote.moments[number]
        encoded = json.loads(report.read_text())["encoded"]
        resumed = re.match(r"resumed: (\d+) of", read_streams(place)[0])
        done = int(resumed[1]) if resumed else 0
        assert (done, encoded) == (7, []) if finished else done + len(encoded) == 7


def test_a_living_lease_is_respected(remote: Victim):
    place = remote.place()
    faults = {"seconds_between_renewals": SECONDS}
    # Stopped in one thread only: the lease is renewed by another.
    first = remote.start(place, disturb="sleep", at=40, **faults)
    deadline = time.monotonic() + 60
    while not (place / "out" / ".lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    second = remote.start(place, name="second", **faults)
    check_refused(second, place, "second", first.pid)
    assert first.wait() == 0, read_streams(place)
    assert contents(place / "out") == remote.expected


OWNER = re.escape(f"process {os.getpid()} of ") + ".+ on " + re.escape(socket.gethostname())
REFUSAL = f"expected no other run at work here, found {OWNER}, since .+\\. Wait for it"


def test_the_lock_file_names_its_owner_and_is_gone_afterwards(tmp_path: Path):
    (tmp_path / ".lock").write_text("a long line of a process that was killed" * 9)
    with locked(str(tmp_path)):
        assert re.fullmatch(f"{OWNER}, since .+", (tmp_path / ".lock").read_text())
        # Neither a refused run nor its end takes anything from the first one.
        for _ in range(2):
            with pytest.raises(RequestError, match=REFUSAL), locked(str(tmp_path)):
                pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_directory_was_made_again_leaves_the_lock_of_the_next(tmp_path: Path):
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(locked(str(tmp_path / "out")))
        shutil.rmtree(tmp_path / "out")
        second.enter_context(locked(str(tmp_path / "out")))
        first.close()
        with pytest.raises(RequestError, match=REFUSAL), locked(str(tmp_path / "out")):
            pass
    assert list(tmp_path.iterdir()) == []


def test_of_threads_that_take_and_leave_a_lock_one_has_it_at_a_time(tmp_path: Path):
    """What is removed, and made again, is the very file that the others are opening."""
    holders: list[int] = []
    times = Counter[str]()

    def take_turns() -> None:
        for _ in range(200):
            try:
                with locked(str(tmp_path)):
                    holders.append(1)
                    times[str(len(holders))] += 1
                    holders.pop()
            except RequestError as error:
                assert "expected no other run" in str(error)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(take_turns) for _ in range(4)]:
            done.result()
    assert list(times) == ["1"] and times["1"] > 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_disk_without_locks_has_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lease, "SECONDS_BETWEEN_RENEWALS", 0.05)
    for _ in range(2):
        with locked(str(tmp_path / "out")):
            with pytest.raises(RequestError, match=REFUSAL), locked(str(tmp_path / "out")):
                pass
            assert json.loads((tmp_path / "out" / ".lock").read_text())["owner"]
        assert list(tmp_path.iterdir()) == []
