"""Disks that are full, read-only, forbidden or gone: one line, nothing half-made, then go on."""

import itertools
import random
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsq.dataset.manifest import MANIFEST_FILE
from fsq.storage import filesystem
from tools.faults import resize_disk
from tools.kills import PHASES, Victim, contents, read_streams

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20
MOMENTS_PER_PHASE = 2

Mount = Callable[..., Path]


@pytest.fixture(scope="module")
def victim(small_victim: Victim) -> Victim:
    return small_victim


@pytest.fixture
def mount_disk() -> Iterator[Mount]:
    """Mounts a small disk of its own where a job writes."""
    mounted: list[Path] = []

    def mount(output: Path, options: str = "size=16m") -> Path:
        output.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a disk here: {done.stderr.strip()}")
        mounted.append(output)
        return output

    yield mount
    for output in mounted:
        subprocess.run(["umount", "--lazy", str(output)], check=True)


def check_one_line(place: Path, *hints: str) -> None:
    """Only our own line beside those of the progress; a path of the output in it."""
    stdout, stderr = read_streams(place)
    lines = [line for line in stderr.splitlines() if not line.startswith("tokenize: ")]
    assert stdout == "" and len(lines) == 1, (stdout, stderr)
    assert re.match(r"fsq: out[/:]", lines[0]) and ".tmp" not in lines[0], lines
    assert "while running" not in lines[0], lines
    assert any(hint in lines[0] for hint in hints), lines


def check_nothing_half_made(victim: Victim, output: Path) -> None:
    """A file that bears its final name is the final one; without all of them no manifest."""
    found = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    finals = {name: data for name, data in found.items() if not name.startswith(".")}
    finals.pop("timing.json", None)
    rejects = finals.pop("rejects.jsonl", b"")
    assert rejects == b""
    assert {name: victim.expected[name] for name in finals} == finals
    assert MANIFEST_FILE not in finals or set(victim.expected) - {"timing.json"} <= set(found)


def moments_of(victim: Victim, phase: str, *kinds: str) -> list[int]:
    numbers = [m.number for m in victim.moments if m.phase == phase and m.what in kinds]
    return random.Random(3).sample(numbers, min(MOMENTS_PER_PHASE, len(numbers)))


def resume(victim: Victim, place: Path) -> None:
    (found,) = victim.resume_all([place]).values()
    assert (found.exit_code, found.differing) == (0, []), read_streams(place)


@pytest.mark.parametrize("phase", [name for name, _ in PHASES if name != "plan"])
def test_a_full_disk_is_one_line_and_the_job_goes_on_when_there_is_room(
    victim: Victim, mount_disk: Mount, phase: str
):
    for number in moments_of(victim, phase, "open", "write"):
        place = victim.place()
        output = mount_disk(place / "out")
        code = victim.start(place, disturb="full", at=number).wait()
        if code == 0:  # the last page of a file had room for the rest of it
            assert contents(output) == victim.expected
            continue
        assert code == (2 if phase == "begin" else 1), (victim.moments[number], code)
        check_one_line(place, "No space left on device")
        check_nothing_half_made(victim, output)
        resize_disk(str(output), 16 * MEGABYTE)
        resume(victim, place)


@pytest.mark.parametrize("number", [12, 45, 66, 90])
def test_a_full_disk_is_one_line_whatever_the_workers(
    victim: Victim, mount_disk: Mount, number: int
):
    """Threads do these changes in another order; the phases are about the same."""
    place = victim.place()
    output = mount_disk(place / "out")
    assert victim.start(place, beam_options=(), disturb="full", at=number).wait() in (1, 2)
    check_one_line(place, "No space left on device")
    check_nothing_half_made(victim, output)
    resize_disk(str(output), 16 * MEGABYTE)
    resume(victim, place)


@pytest.mark.parametrize("phase", ["begin", "tokenize", "write", "close"])
def test_a_limit_on_file_sizes_is_one_line_and_the_job_goes_on_without_it(
    victim: Victim, phase: str
):
    failed = 0
    for number in moments_of(victim, phase, "write"):
        place = victim.place()
        code = victim.start(place, disturb="limit", at=number).wait()
        if code == 0:  # what came after this moment was small
            assert contents(place / "out") == victim.expected
            continue
        failed += 1
        assert code == (2 if phase == "begin" else 1), (victim.moments[number], code)
        check_one_line(place, "File too large")
        check_nothing_half_made(victim, place / "out")
        resume(victim, place)
    assert failed


@pytest.mark.parametrize("phase", [name for name, _ in PHASES if name != "plan"])
def test_an_output_that_is_removed_meanwhile_is_one_line_and_no_dataset(victim: Victim, phase: str):
    for number in moments_of(victim, phase, "open", "os.rename"):
        place = victim.place()
        code = victim.start(place, disturb="gone", at=number).wait()
        assert code in (1, 2), (victim.moments[number], read_streams(place))
        check_one_line(place, "No such file or directory")
        assert not (place / "out").exists(), victim.moments[number]
        resume(victim, place)


@pytest.mark.parametrize("number", [30, 75])
def test_an_output_that_is_removed_meanwhile_is_one_line_whatever_the_workers(
    victim: Victim, number: int
):
    place = victim.place()
    assert victim.start(place, beam_options=(), disturb="gone", at=number).wait() == 1
    # Whoever notices first, a unit that writes or the reckoning after the last of them.
    check_one_line(place, "No such file or directory", "It was removed")
    assert not (place / "out").exists()
    resume(victim, place)


def test_a_folder_is_removed_although_a_straggler_writes_into_it(tmp_path: Path):
    folder = tmp_path / "work" / "parts"
    for _ in range(20):
        folder.mkdir(parents=True)
        for number in range(100):
            (folder / str(number)).touch()
        straggler = threading.Thread(target=write_until_the_folder_is_gone, args=(folder,))
        straggler.start()
        filesystem.remove(str(tmp_path / "work"))
        straggler.join()
        assert not (tmp_path / "work").exists()


def write_until_the_folder_is_gone(folder: Path) -> None:
    for number in itertools.count():
        try:
            filesystem.write(str(folder / f"late-{number}"), b"")
        except FileNotFoundError:
            if not folder.exists():
                return


def test_an_output_that_is_read_only_is_refused(victim: Victim, mount_disk: Mount):
    place = victim.place()
    output = mount_disk(place / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(output)], check=True)
    assert victim.run(place) == 2
    check_one_line(place, "Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", str(output)], check=True)
    assert victim.start(place, disturb="kill", at=40).wait() < 0
    subprocess.run(["mount", "-o", "remount,ro", str(output)], check=True)
    before = contents(output)
    assert victim.run(place) == 2
    check_one_line(place, "Read-only file system")
    assert contents(output) == before
    subprocess.run(["mount", "-o", "remount,rw", str(output)], check=True)
    resume(victim, place)


@pytest.mark.parametrize("folder", ["out", "out/.work", "."])
def test_an_output_without_permission_is_refused(victim: Victim, folder: str):
    place = victim.place()
    if folder == "out":
        (place / "out").mkdir()
    elif folder == "out/.work":
        assert victim.start(place, disturb="kill", at=40).wait() < 0
    for name in ("stream.out", "stream.err"):
        (place / name).touch()
    (place / folder).chmod(0o555)
    code = victim.start(place, powerless=True).wait()
    assert code == 2, read_streams(place)
    check_one_line(place, "Permission denied")
    (place / folder).chmod(0o755)
    resume(victim, place)
