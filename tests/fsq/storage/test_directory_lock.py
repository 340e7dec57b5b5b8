"""One run at a time in a directory: the others are refused, the dead are no obstacle."""

import json
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tools.fork_server import Child
from tools.kills import Victim, contents, read_streams

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
    deadline = time.monotonic() + 60
    while " T (stopped)" not in stat_line(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stat_line(pid: int) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in text.splitlines() if line.startswith("State:")).replace("\t", " ")


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
