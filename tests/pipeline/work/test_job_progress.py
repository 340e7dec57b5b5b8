"""Job progress counts the parts that a job has committed."""

from pathlib import Path

import pytest
from builders.jobs import MakeConfig

from pipeline.planning.plan import make_plan
from pipeline.work.job_progress import _Poller
from pipeline.work.unit_files import UnitStatus, commit_part


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_a_status_that_cannot_be_read_counts_for_nothing(make_config: MakeConfig, damage: bytes):
    job = make_plan(make_config()).job
    Path(job.parts).mkdir(parents=True)
    status = UnitStatus(
        source="file",
        listed={"cats": 8},
        written={"cats": 8},
        rejects=(),
        token_counts={},
        content={},
        rejected_content="",
        etag="",
        machine="",
        seconds={},
    )
    commit_part(job, "unit-000001", [], status)
    Path(job.part_status("unit-000000")).write_bytes(damage)
    poller = _Poller(job, lambda done, note: None)
    poller._poll()
    assert (poller.images, poller.rejects) == (8, 0)
