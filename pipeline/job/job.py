"""What every worker needs to know of a job, and where the job keeps its files.

Parts and unfinished shards lie in a folder that bears the job's fingerprint: a
worker that outlived its job finds the folder gone, and cannot write into the
next one's.
"""

import dataclasses
import math
from typing import Literal

from fsq.dataset.formats import FileFormat
from fsq.dataset.records import CarriedFeature
from fsq.images.spec import DecodeRules
from fsq.runtimes import Precision, RuntimeName
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from pipeline.core.records import unit_name
from pipeline.sources import SourceConfig

WORK_FOLDER = ".work"
JOB_FILE = "job.json"


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
      runtime: How the encoder is run; 'auto' until that is settled.
      precision: Of the encoder.
      num_records: Images to read.
      num_units: Units they are cut into.
      num_shards: Files they are written to.
      max_reject_fraction: The tolerated share of rejects.
      read_timeout_seconds: How long a record may take to come.
      read_tries: How often it is asked for.
      fingerprint: sha256 of all that decides the bytes.
      run: Differs from run to run.
      array_record: Whether ArrayRecord files are written beside the TFRecords.
      generation: How often rejects were tried again.
    """

    source: SourceConfig
    output: str
    name: str
    split: str
    contract: TokenContract
    features: tuple[CarriedFeature, ...]
    decode: DecodeRules
    batch_size: int
    runtime: RuntimeName | Literal["auto"]
    precision: Precision
    num_records: int
    num_units: int
    num_shards: int
    max_reject_fraction: float
    read_timeout_seconds: float
    read_tries: int
    fingerprint: str
    run: str
    array_record: bool = False
    generation: int = 0

    @property
    def work(self) -> str:
        """The folder of everything that is removed when the dataset is done."""
        return filesystem.join(self.output, WORK_FOLDER)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views of each image; none if the contract has none."""
        return self.contract.views or ()

    @property
    def token_format(self) -> Literal["bytes", "int64_list"]:
        """How a record stores its tokens."""
        return "int64_list" if self.contract.dtype == "int64_list" else "bytes"

    @property
    def max_rejects(self) -> int:
        """How many images may be refused."""
        # A fraction such as 0.29 is a little less than that in binary.
        return math.floor(self.max_reject_fraction * self.num_records + 1e-6)

    @property
    def parts(self) -> str:
        """The folder of the parts."""
        return parts_folder(self.output, self.fingerprint, self.generation)

    @property
    def results(self) -> str:
        """The folder of files that wait for their final name."""
        return filesystem.join(self.work, f"results-{self.fingerprint[:16]}-{self.generation}")

    def part(self, unit_name: str) -> str:
        """The records of one unit."""
        return filesystem.join(self.parts, f"{unit_name}.part")

    def part_status(self, unit_name: str) -> str:
        """What became of one unit; written last, so that it commits the part."""
        return filesystem.join(self.parts, f"{unit_name}.json")

    def unit_names(self) -> list[str]:
        """Returns the names of all units, in order."""
        return [unit_name(number) for number in range(self.num_units)]

    def shard_name(self, index: int, file_format: FileFormat = "tfrecord") -> str:
        """A shard's final file name, as tensorflow-datasets spells it."""
        return f"{self.name}-{self.split}.{file_format}-{index:05d}-of-{self.num_shards:05d}"

    def shard(self, index: int, file_format: FileFormat = "tfrecord") -> str:
        """Returns the path of a finished shard."""
        return filesystem.join(self.output, self.shard_name(index, file_format))


def parts_folder(output: str, fingerprint: str, generation: int) -> str:
    """Returns the folder in which a job keeps its parts."""
    return filesystem.join(output, WORK_FOLDER, f"parts-{fingerprint[:16]}-{generation}")


def describe_source(job: Job) -> str:
    """Names the input for a message: its folder, files or dataset."""
    source = job.source.model_dump(exclude_none=True)
    named = (source[name] for name in ("directory", "files", "name") if name in source)
    return str(next(named))
