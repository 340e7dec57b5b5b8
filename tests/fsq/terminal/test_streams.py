"""Standard streams that are closed, full or unread: the result is there, the exit code right."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from builders.jobs import MakeConfig

from fsq.terminal.streams import _LastingFile
from pipeline.reports.verify import verify_dataset
from tools.faults import run_fsq
from tools.fork_server import start

LOST = ["closed", "full", "unread"]


@pytest.mark.parametrize("lost", LOST)
def test_a_job_without_streams_ends_in_its_dataset(
    make_config: MakeConfig, tmp_path: Path, lost: str
):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    arguments = ["tokenize", "job.yaml", "--limit", "20"]
    child = start(run_fsq, arguments=arguments, directory=str(tmp_path), lost_streams=lost)
    assert child.wait() == 0
    assert list(verify_dataset(str(tmp_path / "out"))) == []
    # The result of these is their text, of which nothing arrived.
    for others in (["inspect", "out"], ["verify", "out"], [*arguments, "--dry-run"]):
        child = start(run_fsq, arguments=others, directory=str(tmp_path), lost_streams=lost)
        assert child.wait() == 1, others


def run(code: str, stdout: int | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


COMMAND = """
import click
from fsq.terminal.console import run_command

@click.command
def show():
    click.echo("caf\\xe9 \\udcff")
    for _ in range(10_000):
        click.echo("line")

run_command(show, "fsq")
"""


def test_text_that_does_not_arrive_is_an_error_in_one_line():
    with open("/dev/full", "w") as full:
        done = run(COMMAND, full.fileno())
    assert (done.returncode, done.stderr) == (
        1,
        "fsq: standard output: expected to be written, got: No space left on device.\n",
    )


def test_a_reader_that_has_enough_gets_no_message():
    source, target = os.pipe()
    os.close(source)
    done = run(COMMAND, target)
    os.close(target)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_name_that_is_no_text_is_shown():
    done = run(COMMAND, subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == ["caf\xe9 \\udcff", "line"]


def test_a_stream_that_does_not_block_loses_nothing():
    source, target = os.pipe()
    os.set_blocking(target, False)
    data = os.urandom(300_000)  # more than a pipe holds
    found: list[bytes] = []

    def read() -> None:
        with open(source, "rb") as file:
            found.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    with _LastingFile(target, "w") as file:
        written = 0
        while written < len(data):
            written += file.write(data[written:])
    reader.join()
    assert (found, file.error) == ([data], None)
