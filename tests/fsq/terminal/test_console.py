"""How commands end: one line for a disk that is full, a traceback for what is a fault of ours."""

import errno
import os
import pickle
import re
import resource
from pathlib import Path

import click
import pytest
from PIL import Image

from fsq.errors import InvalidConfigError, RequestError
from fsq.images.image_file import check_picture, save_picture
from fsq.storage import filesystem
from fsq.terminal.console import run_command
from fsq.terminal.progress_bar import progress_bar
from pipeline.cli import main


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["command"])


def test_a_full_disk_is_one_line_even_where_no_path_comes_with_it(
    capsys: pytest.CaptureFixture[str],
):
    @click.command
    def write() -> None:
        with open("/dev/full", "w") as file:
            file.write("text")

    with pytest.raises(SystemExit) as stop:
        run_command(write, "prior train")
    assert stop.value.code == 1
    assert capsys.readouterr().err == "prior train: a disk: No space left on device.\n"


def test_another_error_without_a_path_is_not_hidden():
    @click.command
    def fail() -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with pytest.raises(OSError, match="Bad file descriptor"):
        run_command(fail, "fsq")


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_is_named(tmp_path: Path):
    path = tmp_path / "weights"
    filesystem.write(str(path), b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as error:
            filesystem.write(str(path), b"new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
    assert [found.name for found in tmp_path.iterdir()] == ["weights"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["f", "f.nothing", "f.txt", "none/f.png", "folder.png"])
def test_a_picture_that_cannot_be_is_refused_before_it_is_made(tmp_path: Path, name: str):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RequestError, match=r"expected .*image file"):
        check_picture(str(tmp_path / name))


@pytest.mark.parametrize("name", ["f.png", "F.PNG", "f.jpg", "f.webp"])
def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path, name: str):
    save_picture(Image.new("RGB", (3, 2)), str(tmp_path / name))
    assert Image.open(tmp_path / name).size == (3, 2)


def test_an_option_of_the_whole_command_after_a_verb_is_told_its_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["fsq", "tokenize", "--version"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "fsq: --version: expected before the verb, as in 'fsq --version'.\n"
    )


def test_the_time_left_is_not_told_before_it_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fsq.terminal.progress_bar.SECONDS_BETWEEN_LINES", 0)
    with progress_bar("tokenize", 300) as update:
        update(100, "0 images/s")
        update(200, "9 images/s")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tokenize: 100 of 300  0 images/s  ")
    assert first.endswith(" s passed")
    assert second.endswith(" s left")


def test_a_bar_is_one_line_of_80_columns_with_its_count_and_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    with progress_bar("train", 12_000) as update:
        update(11_990, "  ".join(f"a quite long loss {number} 0.1234" for number in range(9)))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert all(line.startswith("train ") and len(line) <= 80 for line in lines)
    assert re.search(r" 11990/12000 a quite long loss 0 .*… 0:00:0\d left \S+ *$", lines[-1])


@pytest.mark.parametrize("terminal", ["1", ""])
def test_a_resumed_run_says_at_once_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: str
):
    monkeypatch.setenv("FORCE_COLOR", terminal)
    with progress_bar("train", 1_000, 400):
        pass
    shown = "400/1000 resumed" if terminal else "train: 400 of 1,000  resumed\n"
    assert shown in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)


def test_an_interrupted_command_says_what_is_saved(
    capsys: pytest.CaptureFixture[str],
):
    @click.command("train")
    def command() -> None:
        raise KeyboardInterrupt("step 7 of 48 is saved")

    with pytest.raises(SystemExit) as stop:
        run_command(command, "fsq")
    assert stop.value.code == 130
    assert capsys.readouterr().err.strip() == (
        "fsq: interrupted; step 7 of 48 is saved; run the same command again to go on."
    )


def test_the_mistakes_of_a_config_survive_another_process():
    error = pickle.loads(pickle.dumps(InvalidConfigError(["a: wrong", "b: wrong"])))
    assert (str(error), error.problems) == (
        "a: wrong (1 more after this one)",
        ("a: wrong", "b: wrong"),
    )
