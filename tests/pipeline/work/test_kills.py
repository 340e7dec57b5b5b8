"""A job killed with SIGKILL at any moment ends, run again, in the bytes of an undisturbed one."""

import dataclasses
import random
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tools.kills import ONE_WORKER, PHASES, Victim, read_streams

pytestmark = pytest.mark.slow

MOMENTS_PER_PHASE = 12


@pytest.fixture(scope="module")
def victim(small_victim: Victim) -> Victim:
    return small_victim


def check_resumed(victim: Victim, kills: Mapping[Path, object], *more: str) -> None:
    """Gives the same command again: the same bytes, no work twice, nothing left behind."""
    finished = {place: (place / "out" / "manifest.json").exists() for place in kills}
    for place, found in victim.resume_all(list(kills), *more).items():
        assert (found.exit_code, found.differing) == (0, []), kills[place]
        if finished[place]:
            assert found.encoded == [], kills[place]
        else:
            assert found.resumed == len(found.committed), kills[place]
            assert sorted(found.encoded + found.committed) == victim.encoded, kills[place]


@pytest.mark.parametrize("phase", [name for name, _ in PHASES])
def test_a_job_killed_at_any_change_of_its_files_ends_in_the_same_bytes(victim: Victim, phase: str):
    moments = [moment for moment in victim.moments if moment.phase == phase]
    chosen = random.Random(0).sample(moments, min(MOMENTS_PER_PHASE, len(moments)))
    kills = {victim.place(): moment for moment in chosen}
    for place, killed in victim.kill_all({p: m.number for p, m in kills.items()}).items():
        assert killed, kills[place]
    check_resumed(victim, kills)


def test_a_job_killed_again_and_again_ends_in_the_same_bytes(victim: Victim):
    rng = random.Random(1)
    kills: dict[Path, list[int]] = {victim.place(): [] for _ in range(4)}
    for _ in range(3):
        numbers = {place: rng.randrange(45) for place in kills}
        for place, number in numbers.items():
            kills[place].append(number)
        victim.kill_all(numbers)
    check_resumed(victim, kills)


def test_a_job_killed_while_it_overwrites_another_ends_in_the_same_bytes(victim: Victim):
    # Other numbers of shards, so that no shard of the one could pass for one of the other.
    other = Victim(
        victim.folder / "other",
        {**victim.config, "output": {**victim.config["output"], "num_shards": 2}},
        arguments=["--limit", "16"],
    )
    dataset = victim.folder / "other" / "run-0000" / "out"
    kills = {}
    for number in (1, 4, 6, 8, 9, 10, 12, 20, 40):
        place = victim.place()
        shutil.copytree(dataset, place / "out")
        kills[place] = number
    assert all(victim.kill_all(kills, "--overwrite").values())
    resumed = victim.resume_all(list(kills), "--overwrite")
    assert {kills[place]: (r.exit_code, r.differing) for place, r in resumed.items()} == {
        number: (0, []) for number in kills.values()
    }
    assert other.expected != victim.expected


def test_a_job_killed_from_outside_at_any_time_ends_in_the_same_bytes(victim: Victim):
    """With the threads of a usual run, whose order differs each time."""
    rng = random.Random(2)
    usual = dataclasses.replace(victim, folder=victim.folder / "usual", beam_options=())
    assert usual.expected == victim.expected
    kills: dict[Path, float] = {}
    for _ in range(6):
        place, began = usual.place(), time.monotonic()
        kills[place] = rng.uniform(0, usual.seconds)
        child = usual.start(place)
        time.sleep(max(0.0, began + kills[place] - time.monotonic()))
        child.kill()
        assert child.wait() in (0, -signal.SIGKILL)
    check_resumed(usual, kills)


@pytest.mark.parametrize("beam_options", [ONE_WORKER, ()], ids=["one worker", "threads"])
def test_ctrl_c_is_one_line_whatever_the_workers(victim: Victim, beam_options: Sequence[str]):
    kills = {victim.place(): number for number in (2, 30, 68)}
    for place, number in kills.items():
        child = victim.start(place, beam_options=beam_options, disturb="interrupt", at=number)
        assert child.wait() == 130, (number, read_streams(place))
        stdout, stderr = read_streams(place)
        assert stdout == ""
        # The progress is on the same stream.
        *_, message = stderr.splitlines()
        assert message == "fsq: interrupted; run the same command again to go on."
        assert "Traceback" not in stderr
    check_resumed(victim, kills)
