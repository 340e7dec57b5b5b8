"""What a finished run says of its tokens, its images and its time."""

import dataclasses
from typing import Any

import numpy as np

from fsq.quantizer.codebook_usage import usage_of_counts
from pipeline.job.job import Job
from pipeline.work.accounting import Accounting

STAGES = ("read", "decode", "encode", "write", "wait")


def collect_stats(job: Job, accounts: Accounting) -> dict[str, Any]:
    """Codebook usage, and the images by source file; the same in every run of a job."""
    counts = accounts.token_counts
    usage = usage_of_counts(
        np.fromiter((counts[token] for token in sorted(counts)), np.int64, len(counts)),
        job.contract.vocab_size,
    )
    return {
        "usage": dataclasses.asdict(usage),
        "token_counts": {str(token): counts[token] for token in sorted(counts)},
        "by_file": {
            name: entry.model_dump() for name, entry in accounts.by_file(len(job.views)).items()
        },
    }


def collect_timing(accounts: Accounting) -> dict[str, Any]:
    """Seconds by stage, all workers together, another in every run.

    'wait' is the time in which a worker let another one go first.
    """
    seconds = {stage: round(accounts.seconds[stage], 3) for stage in STAGES}
    return {
        "worker_seconds": seconds,
        "slowest_stage": max(STAGES[:-1], key=lambda stage: seconds[stage]),
    }
