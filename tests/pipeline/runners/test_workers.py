"""Worker processes that die, and workers that outlive the process that started them."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from tools.kills import Victim, contents, read_streams
from tools.zygote import Child, Zygote

pytestmark = pytest.mark.slow

TWO_PROCESSES = (
    "--",
    "--runner=FnApiRunner",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)
COPIES = 30


@pytest.fixture(scope="module")
def victim(
    zygote: Zygote, image_folder: Path, tokenizer_directory: Path, tmp_path_factory
) -> Victim:
    """A job of 3,000 images in 75 units, so that it lasts some seconds."""
    folder = tmp_path_factory.mktemp("workers")
    for copy in range(COPIES):
        shutil.copytree(image_folder, folder / "images" / str(copy), copy_function=os.link)
    config = {
        "source": {"kind": "image_folder", "directory": str(folder / "images"), "labels": False},
        "tokenizer": str(tokenizer_directory),
        "output": {"name": "pets", "num_shards": 3},
        "batch_size": 8,
    }
    return Victim(zygote, folder / "runs", config)


def workers_of(child: Child) -> list[int]:
    """Lists the worker processes of a run: they are of its group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if group == child.pid and b"sdk_worker_main" in command and b"-c" not in command:
            found.append(int(folder.name))
    return found


def units_done(place: Path) -> int:
    return len(list(place.glob("out/.work/parts-*/unit-*.json")))


def start_and_wait_for_units(victim: Victim, place: Path) -> Child:
    child = victim.start(place, beam_options=TWO_PROCESSES)
    deadline = time.monotonic() + 120
    while units_done(place) < 3:
        assert child.running() and time.monotonic() < deadline, read_streams(place)
        time.sleep(0.005)
    return child


def test_a_worker_that_dies_ends_the_run_with_one_line_and_the_next_goes_on(victim: Victim):
    place = victim.place()
    child = start_and_wait_for_units(victim, place)
    first, *_ = workers_of(child)
    os.kill(first, signal.SIGKILL)
    assert child.wait(60) == 1
    stdout, stderr = read_streams(place)
    assert stdout == ""
    # Beam's workers write to stderr too, whatever happens.
    assert "Traceback" not in stderr
    *_, message = stderr.splitlines()
    assert re.fullmatch(
        "fsq: out: expected all workers to live, lost one: Worker subprocess exited with return "
        r"code (137|-9)\. If it was not you who stopped it, memory ran out: take fewer workers\. "
        r"Run the same command again to go on\.",
        message,
    )
    assert workers_of(child) == []
    done = units_done(place)
    assert 3 <= done < 75
    assert victim.start(place, beam_options=TWO_PROCESSES).wait() == 0, read_streams(place)
    assert read_streams(place)[0].startswith(f"resumed: {done} of 75 units done\n")
    assert contents(place / "out") == victim.expected


def test_workers_that_outlive_their_run_do_not_harm_the_next(victim: Victim):
    place = victim.place()
    child = start_and_wait_for_units(victim, place)
    orphans = workers_of(child)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert len(orphans) == 2
    (found,) = victim.resume_all([place]).values()
    assert (found.exit_code, found.differing) == (0, []), read_streams(place)
    deadline = time.monotonic() + 60
    while workers_of(child):
        assert time.monotonic() < deadline, "the orphans live on"
        time.sleep(0.05)
    assert contents(place / "out") == victim.expected
