"""Statistics of a finished run: codebook usage, image counts, seconds by stage."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fsq.dataset.manifest import SplitEntry
from fsq.quantizer.codebook_usage import usage_of_counts
from pipeline.job.job import Job
from pipeline.work.accounting import Accounting

STAGES = ("read", "decode", "encode", "write", "wait")


def collect_stats(
    job: Job, accounts: Accounting, splits: Mapping[str, SplitEntry], grids: Mapping[str, int]
) -> dict[str, Any]:
    """Returns codebook usage and counts; equal in every run of a job.

    Args:
      job: The job.
      accounts: Counts by source file, and of the tokens.
      splits: Counts by split.
      grids: Number of records by rows and columns, in words; written if there are buckets.
    """
    counts = accounts.token_counts
    usage = usage_of_counts(
        np.fromiter((counts[token] for token in sorted(counts)), np.int64, len(counts)),
        job.contract.vocab_size,
    )
    return {
        "usage": dataclasses.asdict(usage),
        "token_counts": {str(token): counts[token] for token in sorted(counts)},
        "splits": {name: split.model_dump() for name, split in splits.items()},
        **({"grids": dict(grids)} if job.contract.buckets else {}),
        "by_file": {
            name: entry.model_dump() for name, entry in accounts.by_file(len(job.views)).items()
        },
    }


def collect_timing(accounts: Accounting) -> dict[str, Any]:
    """Returns seconds by stage, summed over all workers; they differ from run to run.

    'wait' is the time that threads waited for the GIL limiter.
    """
    seconds = {stage: round(accounts.seconds[stage], 3) for stage in STAGES}
    return {
        "worker_seconds": seconds,
        "slowest_stage": max(STAGES[:-1], key=lambda stage: seconds[stage]),
    }
