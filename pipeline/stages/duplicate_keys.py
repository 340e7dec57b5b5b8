"""Duplicate keys in two splits, which the merge of a shard cannot see: they lie in two shards.

With shares a key has one split, so that only parts that the source names are compared.
"""

import math

import numpy as np

from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.job.job import Job
from pipeline.stages.merge_shards import key_of, origin_of
from pipeline.work.unit_files import read_rows

PLACES_IN_MEMORY = 4_000_000


def refuse_keys_in_two_splits(job: Job) -> None:
    """Compares the places of all records, which are hashes of key and view.

    One range of hashes is in memory at a time, whatever the size of the dataset.

    Raises:
      OSError: A part cannot be read.
      DataError: A key is in two parts of the source.
    """
    if job.config.output.parts is None or len(job.splits) == 1:
        return
    names = job.unit_names()
    num_ranges = math.ceil(job.num_records * len(job.views) / PLACES_IN_MEMORY) or 1
    for number in range(num_ranges):
        first, last = (2**64 * n // num_ranges for n in (number, number + 1))
        pieces = [
            rows[(rows["high"] >= first) & (rows["high"] <= np.uint64(last - 1))]
            for rows in (read_rows(job, name) for name in names)
        ]
        rows = np.concatenate(pieces)
        order = np.lexsort((rows["low"], rows["high"]))
        places = rows[["high", "low"]][order]
        twice = np.flatnonzero(places[1:] == places[:-1])
        if len(twice):
            pair = order[twice[0] : twice[0] + 2].tolist()
            units = np.repeat(names, [len(piece) for piece in pieces])
            origins = sorted(origin_of(job, str(units[i]), int(rows["record"][i])) for i in pair)
            raise DataError(
                f"{_key_at(job, str(units[pair[0]]), rows[pair[0]])}: expected each key in one "
                f"split, got it in {' and in '.join(origins)}. Rename one of the two, or remove it."
            )


def _key_at(job: Job, unit_name: str, row: np.void) -> str:
    with filesystem.open_read(job.part(unit_name)) as file:
        file.seek(int(row["offset"]))
        return key_of(file.read(int(row["length"])))
