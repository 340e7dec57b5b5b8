"""The resolved job: what every worker needs to know, and where the job keeps its files.

Unit files and unfinished shards lie in a folder that bears the job's fingerprint:
a worker that outlived its job finds the folder gone, and cannot write into the
next one's.
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
    """A planned job; goes to the workers, so it holds descriptors only.

    Attributes:
      config: What was asked for.
      contract: The token contract with this dataset's views and storage type.
      features: What is carried along.
      runtime: How the encoder is run; 'auto' until one is selected.
      num_records: Images to read.
      num_units: Units they are cut into.
      num_shards: Shards they are written to, in each format.
      fingerprint: sha256 of all that decides the bytes.
      run: Differs from run to run.
      attempt: How often rejects were tried again.
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

    @property
    def output(self) -> str:
        """The dataset's folder."""
        return self.config.output.directory.rstrip("/")

    @property
    def work(self) -> str:
        """The folder of everything that is removed when the dataset is done."""
        return filesystem.join(self.output, WORK_FOLDER)

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the views, in the order of the config."""
        return self.contract.views or ()

    @property
    def max_rejects(self) -> int:
        """How many images may be refused."""
        # A fraction such as 0.29 is a little less than that in binary.
        return math.floor(self.config.max_reject_fraction * self.num_records + 1e-6)

    @property
    def parts(self) -> str:
        """The folder of the unit files."""
        return parts_folder(self.output, self.fingerprint, self.attempt)

    @property
    def staging(self) -> str:
        """The folder of files that wait for their final name."""
        return filesystem.join(self.work, f"staging-{self.fingerprint[:16]}-{self.attempt}")

    def part(self, unit_name: str) -> str:
        """The records of one unit."""
        return filesystem.join(self.parts, f"{unit_name}.part")

    def part_status(self, unit_name: str) -> str:
        """What became of one unit; written last, so that it commits the part."""
        return filesystem.join(self.parts, f"{unit_name}.json")

    def unit_names(self) -> list[str]:
        """The stable ids of all units."""
        return [unit_name(number) for number in range(self.num_units)]

    def shard_name(self, index: int, shard_format: str) -> str:
        """A shard's final file name, as tensorflow-datasets spells it."""
        output = self.config.output
        return f"{output.name}-{output.split}.{shard_format}-{index:05d}-of-{self.num_shards:05d}"


def parts_folder(output: str, fingerprint: str, attempt: int) -> str:
    """Returns the folder in which a job keeps its unit files."""
    return filesystem.join(output, WORK_FOLDER, f"parts-{fingerprint[:16]}-{attempt}")
