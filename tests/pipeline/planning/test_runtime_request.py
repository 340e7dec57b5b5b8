"""What a job's runtime is before anything was measured."""

import pytest
from builders.jobs import MakeConfig

import pipeline.planning.runtime_request
from pipeline.planning.plan import make_plan
from pipeline.planning.prepare import describe_job, prepare, runtime_note


def test_a_job_says_that_it_takes_the_reference_because_it_is_small(make_config: MakeConfig):
    config = make_config(runtime="auto")
    note = (
        "tensorflow, because the job is small; a larger one may take another. To use the same "
        "for all jobs of a dataset, set runtime to tensorflow or openvino"
    )
    assert runtime_note(make_plan(config)) == note
    assert ("runtime", note) in describe_job(prepare(config))


def test_a_job_whose_runtime_is_named_or_will_be_measured_says_nothing_of_its_size(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    assert runtime_note(make_plan(make_config(runtime="tensorflow"))) is None
    monkeypatch.setattr(pipeline.planning.runtime_request, "SMALL_JOB", 0)
    assert runtime_note(make_plan(make_config(runtime="auto"))) is None
