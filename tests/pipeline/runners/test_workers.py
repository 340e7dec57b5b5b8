"""Workers: threads, no processes; what ends them early, and those that outlive their run."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from builders.fixtures import Run
from builders.jobs import files_of

import pipeline.runners.beam_pipeline
import pipeline.stages.encode_units
from fsq.errors import DataError
from pipeline.core.records import Unit
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.run import tokenize
from pipeline.stages.encode_units import UnitResult, read_and_encode, tokenize_unit
from pipeline.stages.merge_shards import write_shard

MakeConfig = Callable[..., TokenizeConfig]
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
