"""The resolved job: the settings that every worker needs, and the paths of the job's files.

Unit files and unfinished shards lie in a folder named after the job's fingerprint,
so that a worker that outlives its job cannot write into the files of the next one.
"""

import dataclasses
import math
from typing import Literal

from fsq.dataset.records import CarriedFeature
from fsq.dataset.split_by_key import split_of
from fsq.runtimes.registry import RuntimeName
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from pipeline.core.records import unit_name
from pipeline.job.config import TokenizeConfig

WORK_FOLDER = ".work"


@dataclasses.dataclass(frozen=True)
class JobSplit:
    """A split of the dataset that a job writes.

    Attributes:
      name: Its name.
      num_shards: Number of its shards, in each format.
      num_records: Number of images that it should have; with shares about that many.
    """

    name: str
    num_shards: int
    num_records: int


@dataclasses.dataclass(frozen=True)
class Job:
    """A planned job; it is sent to every worker, so it holds no data.

    Attributes:
      config: The config.
      contract: The token contract with this dataset's views and storage type.
      features: Features carried along, such as labels.
      runtime: Runtime of the encoder; 'auto' until one is selected.
      num_records: Number of images to read.
      num_units: Number of units.
      splits: The splits. The shards of the job are those of one split after the other.
      fingerprint: sha256 of all that decides the bytes of the dataset.
      run: Random id of this run.
      attempt: How often rejects have been retried.
      left_out: Number of files of the input that are not images, by ending.
    """

    config: TokenizeConfig
    contract: TokenContract
    features: tuple[CarriedFeature, ...]
    runtime: RuntimeName | Literal["auto"]
    num_records: int
    num_units: int
    splits: tuple[JobSplit, ...]
    fingerprint: str
    run: str
    attempt: int = 0
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def output(self) -> str:
        """The output directory."""
        return self.config.output.directory.rstrip("/")

    @property
    def work(self) -> str:
        """The work folder, removed when the dataset is finished."""
        return filesystem.join(self.output, WORK_FOLDER)

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the views, in the order of the config."""
        return self.contract.views or ()

    @property
    def max_rejects(self) -> int:
        """Number of images that may be rejected."""
        # In binary, a fraction such as 0.29 is slightly smaller than written.
        return math.floor(self.config.max_reject_fraction * self.num_records + 1e-6)

    @property
    def parts(self) -> str:
        """The folder of the unit files."""
        return parts_folder(self.output, self.fingerprint, self.attempt)

    @property
    def staging(self) -> str:
        """The folder of files before they are renamed to their final names."""
        return filesystem.join(self.work, f"staging-{self.fingerprint[:16]}-{self.attempt}")

    def part(self, unit_name: str) -> str:
        """The path of a unit's part."""
        return filesystem.join(self.parts, f"{unit_name}.part")

    def part_status(self, unit_name: str) -> str:
        """The path of a unit's status, which is written last and commits the part."""
        return filesystem.join(self.parts, f"{unit_name}.json")

    def unit_names(self) -> list[str]:
        """The stable ids of all units."""
        return [unit_name(number) for number in range(self.num_units)]

    @property
    def num_shards(self) -> int:
        """Number of shards of all splits, in each format."""
        return sum(split.num_shards for split in self.splits)

    def split_of(self, key: str, listed_in: str | None) -> int:
        """Returns the index of the split that an image belongs to.

        Args:
          key: Key of the image.
          listed_in: The split that the source listed it in, if it lists parts.
        """
        output = self.config.output
        if output.shares is not None:
            listed_in = split_of(key, output.shares)
        return 0 if listed_in is None else output.split_names.index(listed_in)

    def shards_of(self, split: int) -> range:
        """Returns the indices of the shards of a split."""
        first = sum(one.num_shards for one in self.splits[:split])
        return range(first, first + self.splits[split].num_shards)

    def split_of_shard(self, index: int) -> int:
        """Returns the index of the split of a shard."""
        return next(number for number in range(len(self.splits)) if index in self.shards_of(number))

    def shard_name(self, index: int, shard_format: str) -> str:
        """A shard's final file name, in the pattern of tensorflow-datasets."""
        split = self.split_of_shard(index)
        shards, name = self.shards_of(split), self.config.output.name
        place = f"{shards.index(index):05d}-of-{len(shards):05d}"
        return f"{name}-{self.splits[split].name}.{shard_format}-{place}"


def parts_folder(output: str, fingerprint: str, attempt: int) -> str:
    """Returns the folder of a job's unit files."""
    return filesystem.join(output, WORK_FOLDER, f"parts-{fingerprint[:16]}-{attempt}")
