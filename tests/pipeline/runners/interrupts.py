"""What Ctrl-C does to a run in this process; `test_interrupts.py` runs it in a process of its own.

A signal in a process that has run a thousand other tests, with all their libraries,
says nothing about a job: it can crash there.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders.jobs import files_of

import pipeline.runners.beam_pipeline
import pipeline.stages.encode_units
from pipeline.job.config import TokenizeConfig
from pipeline.planning.plan import make_plan
from pipeline.run import tokenize
from pipeline.runners.local import LocalRunner

MakeConfig = Callable[..., TokenizeConfig]
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Lets a signal interrupt this process as it does on a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_ctrl_c_does_not_wait_for_a_read_that_hangs(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, image_folder: Path
):
    shutil.copytree(image_folder, tmp_path / "images")
    source = {"kind": "image_folder", "directory": str(tmp_path / "images")}
    undisturbed, config = make_config("undisturbed", source=source), make_config(source=source)
    tokenize(undisturbed)
    image, away = tmp_path / "images" / "dogs" / "050.png", tmp_path / "away"
    build = pipeline.runners.beam_pipeline.build
    held: list[int] = []

    def interrupt_while_it_is_read() -> None:
        held.append(os.open(image, os.O_WRONLY))  # waits for whoever reads
        os.kill(os.getpid(), signal.SIGINT)

    def built(*arguments: object) -> object:
        os.rename(image, away)
        os.mkfifo(image)
        threading.Thread(target=interrupt_while_it_is_read).start()
        return build(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.runners.beam_pipeline, "build", built)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            tokenize(config)
    assert time.monotonic() - began < config.read_timeout_seconds / 4
    os.rename(away, image)
    os.close(held[0])  # whoever still reads finds the image now, and ends
    tokenize(config)
    assert files_of(config.output.directory) == files_of(undisturbed.output.directory)


def test_the_second_ctrl_c_is_raised_where_it_comes(make_config: MakeConfig):
    with pytest.raises(KeyboardInterrupt), LocalRunner().supervise(make_plan(make_config()).job):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_stays(make_config: MakeConfig):
    signals: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    with LocalRunner().supervise(make_plan(make_config()).job):
        signal.raise_signal(signal.SIGINT)
    assert signals == [signal.SIGINT]
    signal.signal(signal.SIGINT, before)
