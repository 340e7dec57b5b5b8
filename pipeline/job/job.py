"""The resolved job: the settings that every worker needs, and the paths of the job's files.

Unit files and unfinished shards lie in a folder named after the job's fingerprint,
so that a worker that outlives its job cannot write into the files of the next one.
"""

import dataclasses
import math
from typing import Literal

from fsq.dataset.records import CarriedFeature
from fsq.runtimes.registry import RuntimeName
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from pipeline.core.records import unit_name
from pipeline.job.config import TokenizeConfig

WORK_FOLDER = ".work"


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
      num_shards: Number of shards, in each format.
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
    num_shards: int
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

    def shard_name(self, index: int, shard_format: str) -> str:
        """A shard's final file name, in the pattern of tensorflow-datasets."""
        output = self.config.output
        return f"{output.name}-{output.split}.{shard_format}-{index:05d}-of-{self.num_shards:05d}"


def parts_folder(output: str, fingerprint: str, attempt: int) -> str:
    """Returns the folder of a job's unit files."""
    return filesystem.join(output, WORK_FOLDER, f"parts-{fingerprint[:16]}-{attempt}")
