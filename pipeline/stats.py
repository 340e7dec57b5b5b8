"""What a finished run says of its tokens and of its time."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from fsq.usage import usage_of_counts
from pipeline.job import Job
from pipeline.parts import UnitStatus

STAGES = ("read", "decode", "encode", "write", "wait")


def collect_stats(job: Job, statuses: list[UnitStatus]) -> dict[str, Any]:
    """Adds up the units: codebook usage, and seconds by stage, all workers together.

    'wait' is the time in which a worker let another one go first.
    """
    counts: Counter[int] = Counter()
    for status in statuses:
        counts.update(status.token_counts)
    usage = usage_of_counts(
        np.fromiter(counts.values(), np.int64, len(counts)), job.contract.vocab_size
    )
    seconds = {
        stage: round(sum(status.seconds.get(stage, 0.0) for status in statuses), 3)
        for stage in STAGES
    }
    return {
        "usage": dataclasses.asdict(usage),
        "token_counts": {str(token): counts[token] for token in sorted(counts)},
        "worker_seconds": seconds,
        "slowest_stage": max(STAGES[:-1], key=lambda stage: seconds[stage]),
    }
