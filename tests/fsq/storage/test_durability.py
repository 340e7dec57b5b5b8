"""A file is on the disk before it bears its name: synchronised, then renamed."""

import os
from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from fsq.storage import filesystem
from pipeline.run import tokenize

State = tuple[int, int, int]


def state_of(stat: os.stat_result) -> State:
    """What a file is as long as nobody writes to it."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, State, str]]:
    """Notes what is synchronised and what is renamed, in this order, as it is at that moment."""
    found: list[tuple[str, State, str]] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(number: int) -> None:
        fsync(number)
        found.append(("synchronised", state_of(os.fstat(number)), ""))

    def noting_replace(source: str, target: str) -> None:
        found.append(("renamed", state_of(os.stat(source)), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    return found


def check_order(events: list[tuple[str, State, str]]) -> None:
    synchronised: set[State] = set()
    for what, state, target in events:
        if what == "synchronised":
            synchronised.add(state)
        else:
            assert state in synchronised, f"{target}: renamed before all of it was on the disk"


def test_a_file_is_synchronised_after_its_last_byte_and_before_its_name(
    tmp_path: Path, events: list[tuple[str, State, str]]
):
    path = str(tmp_path / "file")
    filesystem.write(path, b"whole")
    with filesystem.open_write(path) as file:
        file.write(b"first")
        file.flush()
        file.write(b"last")
    with filesystem.temporary_file(path) as temporary:
        Path(temporary).write_bytes(b"by a library")
    assert [what for what, _, _ in events] == ["synchronised", "renamed"] * 3
    check_order(events)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_could_not_be_synchronised_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as error:
        filesystem.write(str(tmp_path / "file"), b"whole")
    assert error.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_file_of_a_dataset_was_synchronised_before_it_got_its_name(
    make_config: MakeConfig, events: list[tuple[str, State, str]]
):
    config = make_config(output={"formats": ["tfrecord", "array_record"]})
    tokenize(config, limit=24)
    check_order(events)
    # And there is none that came by another way; the manifest, last, stands for all the others.
    files = sorted(Path(config.output.directory).iterdir())
    synchronised = {state for what, state, _ in events if what == "synchronised"}
    assert [path.name for path in files if state_of(path.stat()) not in synchronised] == []
    targets = [Path(target).name for what, _, target in events if what == "renamed"]
    assert targets[-1] == "manifest.json" and {path.name for path in files} <= set(targets)
