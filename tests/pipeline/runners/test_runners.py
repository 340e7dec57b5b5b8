"""A runner is a file and a line: what is plugged in is asked, and the bytes stay the same."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from builders.jobs import MakeConfig, files_of

from fsq.errors import RequestError
from pipeline.job.job import Job
from pipeline.run import tokenize
from pipeline.runners import RUNNERS, runner_named
from pipeline.runners.base import Runner
from pipeline.runners.beam_options import parse_beam_options, runner_of
from pipeline.runners.local import LocalRunner
from pipeline.runners.other import OtherRunner


class BundleRunner(Runner):
    """Beam's old local runner, which no file of the package knows."""

    def __init__(self) -> None:
        self.supervised: list[str] = []

    @property
    def default_options(self) -> list[str]:
        return []

    def check(self, options: PipelineOptions) -> None:
        if options.view_as(StandardOptions).streaming:
            raise RequestError("beam options: expected a batch job, got --streaming. Leave it out.")

    @contextlib.contextmanager
    def supervise(self, job: Job) -> Iterator[None]:
        self.supervised.append(job.output)
        yield


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> BundleRunner:
    runner = BundleRunner()
    monkeypatch.setitem(RUNNERS, "BundleBasedDirectRunner", runner)
    return runner


# Beam takes a name in any case, with or without its ending, and a whole path.
@pytest.mark.parametrize(
    "name",
    [
        "BundleBasedDirectRunner",
        "bundlebaseddirect",
        "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner",
    ],
)
def test_a_runner_that_is_plugged_in_gives_the_same_bytes(
    make_config: MakeConfig, plugged: BundleRunner, name: str
):
    usual, other = make_config("usual"), make_config("other")
    tokenize(usual)
    assert plugged.supervised == []
    tokenize(other, beam_options=[f"--runner={name}"])
    assert plugged.supervised == [other.output.directory]
    assert files_of(other.output.directory) == files_of(usual.output.directory)


def test_what_a_runner_cannot_do_is_refused_before_the_job_begins(
    make_config: MakeConfig, plugged: BundleRunner
):
    config = make_config()
    with pytest.raises(RequestError, match="expected a batch job, got --streaming"):
        tokenize(config, beam_options=["--runner=BundleBasedDirectRunner", "--streaming"])
    assert plugged.supervised == []
    assert not Path(config.output.directory).exists()


def test_without_a_name_it_is_the_local_runner_with_its_own_options():
    options = parse_beam_options(["--direct_num_workers=7"]).get_all_options()
    assert (options["runner"], options["direct_running_mode"]) == ("FnApiRunner", "multi_threading")
    assert options["direct_num_workers"] == 7
    assert isinstance(runner_of(parse_beam_options([])), LocalRunner)


def test_a_runner_that_is_named_gets_no_options_but_those_given():
    options = parse_beam_options(["--runner=FnApiRunner"]).get_all_options()
    assert (options["direct_running_mode"], options["direct_num_workers"]) == ("in_memory", 1)


@pytest.mark.parametrize("name", ["DirectRunner", "PortableRunner", "FlinkRunner", "PrismRunner"])
def test_every_other_runner_of_beam_is_taken_with_its_options(name: str):
    options = parse_beam_options([f"--runner={name}", "--job_endpoint=localhost:1"])
    assert isinstance(runner_of(options), OtherRunner)
    assert options.get_all_options()["job_endpoint"] == "localhost:1"
    assert isinstance(runner_named("SomeRunner"), OtherRunner)
