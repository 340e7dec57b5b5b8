"""The resolved job: the numbers that follow from its config."""

import pytest
from builders.jobs import MakeConfig

from pipeline.planning.prepare import prepare


@pytest.mark.parametrize(
    ("fraction", "rejects"), [(0.0, 0), (0.07, 7), (0.29, 29), (0.299, 29), (0.57, 57), (1.0, 100)]
)
def test_a_fraction_of_the_images_is_the_number_that_it_says(
    make_config: MakeConfig, fraction: float, rejects: int
):
    job = prepare(make_config(max_reject_fraction=fraction)).plan.job
    assert (job.num_records, job.max_rejects) == (100, rejects)
