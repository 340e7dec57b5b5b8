"""Workers: threads, no processes; what ends them early, and those that outlive their run."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from builders.fixtures import Run
from builders.jobs import MakeConfig, files_of

import pipeline.runners.beam_pipeline
import pipeline.stages.encode_units
from fsq.errors import DataError
from pipeline.core.records import Unit
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.plan import make_plan
from pipeline.run import tokenize
from pipeline.runners.local import LocalRunner
from pipeline.stages.encode_units import UnitResult, read_and_encode, tokenize_unit
from pipeline.stages.merge_shards import write_shard

PATIENCE_SECONDS = 60


@pytest.mark.parametrize("runner", [[], ["--runner=FnApiRunner"], ["--runner=DirectRunner"]])
def test_worker_processes_are_refused_in_one_line(
    run: Run, make_config: MakeConfig, tmp_path: Path, runner: list[str]
):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    mode = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    done = run("tokenize", "job.yaml", "--", *runner, *mode, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fsq: beam options: expected threads, got --direct_running_mode=multi_processing. Worker "
        "processes are slower here (50,000 small images: 33 s, with threads 19 s), and Beam waits "
        "for ever for one that dies. Leave the option out, or take multi_threading.\n"
    )
    assert not (tmp_path / "out").exists()


def left_behind(config: TokenizeConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Unit, Job]:
    """Lets a run fail, and returns what a worker of it has at hand: a unit that was not done."""
    found: list[tuple[Unit, Job]] = []

    def failing(unit: Unit, job: Job, *rest: object) -> object:
        if unit.name == "unit-000003":
            found.append((unit, job))
            raise OSError(5, "Input/output error", unit.path)
        return read_and_encode(unit, job, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.encode_units, "read_and_encode", failing)
        with pytest.raises(DataError, match="Input/output error"):
            tokenize(config)
    return found[0]


@pytest.mark.parametrize("changes", [{}, {"views": ["center_flipped"]}], ids=["same", "other"])
@pytest.mark.parametrize("when", ["amid", "after"])
def test_a_worker_that_outlives_its_run_does_not_harm_the_next(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], when: str
):
    """It has encoded its unit, sleeps, and goes on amid or after the next job in its directory."""
    undisturbed, following = make_config("undisturbed", **changes), make_config(**changes)
    tokenize(undisturbed)
    unit, job = left_behind(make_config(), monkeypatch)
    encoded, released = threading.Event(), threading.Event()
    results: list[UnitResult] = []
    straggler = threading.Thread(target=lambda: results.append(tokenize_unit(unit, job)))

    def waiting(*arguments: object) -> object:
        result = read_and_encode(*arguments)
        if threading.current_thread() is straggler:
            encoded.set()
            assert released.wait(PATIENCE_SECONDS)
        elif when == "amid":
            released.set()
            straggler.join()
        return result

    monkeypatch.setattr(pipeline.stages.encode_units, "read_and_encode", waiting)
    straggler.start()
    assert encoded.wait(PATIENCE_SECONDS)
    tokenize(following, overwrite=bool(changes))
    released.set()
    straggler.join()
    if when == "after" or changes:
        assert results[0].error is not None and "It was removed" in results[0].error
    assert write_shard(0, job).error is not None
    assert files_of(following.output.directory) == files_of(undisturbed.output.directory)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lets a signal interrupt this process as it does on a terminal."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
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


@pytest.mark.usefixtures("interruptible")
def test_the_second_ctrl_c_is_raised_where_it_comes(make_config: MakeConfig):
    with pytest.raises(KeyboardInterrupt), LocalRunner().supervise(make_plan(make_config()).job):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interruptible")
def test_a_handler_of_somebody_else_stays(make_config: MakeConfig):
    signals: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
    with LocalRunner().supervise(make_plan(make_config()).job):
        signal.raise_signal(signal.SIGINT)
    assert signals == [signal.SIGINT]
    signal.signal(signal.SIGINT, before)
