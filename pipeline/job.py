"""What every worker needs to know of a job, and where the job keeps its files."""

import dataclasses
from typing import Literal

from fsq.contract import TokenContract
from fsq.images import DecodeRules
from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.records import CarriedFeature, unit_name

WORK_FOLDER = ".work"


@dataclasses.dataclass(frozen=True)
class Job:
    """A planned job; goes to the workers, so it holds descriptors only.

    Attributes:
      source: Where images come from.
      output: The dataset's folder.
      name: The dataset's name.
      split: Its split.
      contract: The token contract with this dataset's views and dtype.
      features: What is carried along.
      decode: Which image files are decoded.
      batch_size: Images per run of the encoder.
      num_records: Images to read.
      num_units: Units they are cut into.
      num_shards: Files they are written to.
      max_reject_fraction: The tolerated share of rejects.
      fingerprint: sha256 of all that decides the bytes.
    """

    source: SourceConfig
    output: str
    name: str
    split: str
    contract: TokenContract
    features: tuple[CarriedFeature, ...]
    decode: DecodeRules
    batch_size: int
    num_records: int
    num_units: int
    num_shards: int
    max_reject_fraction: float
    fingerprint: str

    @property
    def work(self) -> str:
        """The folder of everything that is removed when the dataset is done."""
        return storage.join(self.output, WORK_FOLDER)

    @property
    def views(self) -> tuple[str, ...]:
        return self.contract.views or ()

    @property
    def token_format(self) -> Literal["bytes", "int64_list"]:
        return "int64_list" if self.contract.dtype == "int64_list" else "bytes"

    def part(self, unit_name: str) -> str:
        """The records of one unit."""
        return storage.join(self.work, "parts", f"{unit_name}.part")

    def part_status(self, unit_name: str) -> str:
        """What became of one unit; written last, so that it commits the part."""
        return storage.join(self.work, "parts", f"{unit_name}.json")

    def unit_names(self) -> list[str]:
        return [unit_name(number) for number in range(self.num_units)]

    def shard_name(self, index: int) -> str:
        """A shard's final file name, as tensorflow-datasets spells it."""
        return f"{self.name}-{self.split}.tfrecord-{index:05d}-of-{self.num_shards:05d}"

    def shard(self, index: int) -> str:
        return storage.join(self.output, self.shard_name(index))


def describe_source(job: Job) -> str:
    """Names the input for a message: its folder, files or dataset."""
    source = job.source.model_dump(exclude_none=True)
    return next(source[name] for name in ("directory", "files", "name") if name in source)
