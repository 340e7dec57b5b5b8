"""Splits of a planned job: how many images each should have, and how many shards."""

import math
from collections.abc import Sequence

from fsq.dataset.fingerprint import Split
from pipeline.core.proportions import share_out
from pipeline.core.records import Unit
from pipeline.job.config import OutputConfig
from pipeline.job.job import JobSplit

RECORDS_PER_SHARD = 10_000


def plan_splits(
    output: OutputConfig, units: Sequence[Unit], num_views: int
) -> tuple[JobSplit, ...]:
    """Returns the splits of a job.

    Args:
      output: The config of the output.
      units: The units of the job.
      num_views: Number of records per image.
    """
    images = _images_of(output, units)
    match output.num_shards:
        case None:
            shards = {
                name: math.ceil(count * num_views / RECORDS_PER_SHARD) or 1
                for name, count in images.items()
            }
        case int() as total:
            shards = share_out(total, images)
        case given:
            shards = given
    return tuple(JobSplit(name, shards[name], images[name]) for name in output.split_names)


def describe_splits(output: OutputConfig, splits: Sequence[JobSplit]) -> dict[str, Split]:
    """Returns the splits as they stand in a fingerprint."""
    shares, parts = output.shares or {}, output.parts or {}
    return {
        split.name: Split(
            number=number,
            num_shards=split.num_shards,
            share=shares.get(split.name),
            part=parts.get(split.name),
        )
        for number, split in enumerate(splits)
    }


def _images_of(output: OutputConfig, units: Sequence[Unit]) -> dict[str, int]:
    """Returns the number of images of each split; with shares the number to be expected."""
    total = sum(unit.num_records for unit in units)
    if output.shares is not None:
        return {name: math.ceil(total * share) for name, share in output.shares.items()}
    images = dict.fromkeys(output.split_names, 0)
    for unit in units:
        images[unit.split or output.split_names[0]] += unit.num_records
    return images
