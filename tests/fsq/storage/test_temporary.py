"""Temporary files: a folder that is missing or full is named in one line, with the remedy."""

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from fsq.errors import DataError, RequestError
from fsq.storage.temporary import open_temporary, temporary_folder
from fsq.terminal.console import quiet_start
from pipeline.run import tokenize

NO_ROOM = r"^{}: expected room for temporary files, got: File too large\. Make room, or set TMPDIR"


@pytest.fixture
def full() -> Iterator[None]:
    """No file of this process can be longer than 1,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_file_gives_back_what_was_written(folder: Path):
    with open_temporary() as file:
        file.write(b"one two")
        file.seek(4)
        assert file.read() == b"two"
        assert list(folder.iterdir()) == []


def test_a_full_folder_is_named(folder: Path, full: None):
    with open_temporary() as file, pytest.raises(DataError, match=NO_ROOM.format(folder)):
        file.write(bytes(100_000))
    with pytest.raises(DataError, match=NO_ROOM.format(folder)), temporary_folder() as path:
        Path(path, "large").write_bytes(bytes(100_000))
    assert list(folder.iterdir()) == []


def test_an_error_of_something_else_is_left_as_it_is(folder: Path):
    with pytest.raises(ZeroDivisionError), temporary_folder():
        _ = 1 / 0


def test_a_library_that_fails_because_the_folder_is_full_does_not_hide_it(folder: Path, full: None):
    with pytest.raises(DataError, match=NO_ROOM.format(folder)), temporary_folder():
        raise RuntimeError("the stream is bad")


def test_a_job_without_a_folder_for_temporary_files_ends_in_one_line(
    make_config: MakeConfig, no_folder: None
):
    with pytest.raises(RequestError) as error:
        tokenize(make_config())
    assert str(error.value).startswith(
        "TMPDIR: expected a folder for temporary files that can be written, got: "
        "No usable temporary directory found in ["
    )
    assert str(error.value).endswith("]. Set TMPDIR to a folder with room.")


def test_a_command_starts_without_a_folder_for_temporary_files(no_folder: None):
    with quiet_start():
        pass


def test_every_temporary_file_is_made_where_its_errors_are_explained(root: Path):
    makers = {
        path.relative_to(root).as_posix()
        for package in ("fsq", "pipeline")
        for path in (root / package).rglob("*.py")
        if "tempfile." in path.read_text()
    }
    assert makers == {"fsq/storage/temporary.py", "fsq/terminal/console.py"}
