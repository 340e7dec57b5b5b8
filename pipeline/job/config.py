"""Config of a job: YAML as frozen models. Imports neither TensorFlow nor Beam."""

from typing import Annotated, Literal

import pydantic

from fsq.dataset.formats import PRIMARY, check_formats
from fsq.images.spec import CropName, DecodeRules, Side, check_pair
from fsq.runtimes.base import Precision
from fsq.runtimes.registry import RuntimeName
from fsq.storage import filesystem
from fsq.validation import FrozenModel
from fsq.yaml_config import Name, PathStr
from pipeline.core.size_filter import SizeFilter
from pipeline.job.splits import NumShards, Splits, check_num_shards, check_splits
from pipeline.sources import Source, SourceConfig
from pipeline.views import DEFAULT_VIEWS, ViewPolicy, ViewPolicyConfig

__all__ = ["OutputConfig", "TokenizeConfig"]

Bucket = tuple[Side, Side]


class OutputConfig(FrozenModel):
    """Directory, name and format of the dataset.

    Attributes:
      directory: Directory of the dataset, local, s3:// or gs://.
      name: Name of the dataset, the first part of its shards' names.
      split: Name of the split, the second part of its shards' names; or several splits in one
        dataset: the share of each (train: 0.9), by a hash of the key, or what the source calls
        each (train: 'train[:90%]').
      num_shards: Number of shards, of several splits shared out by size; or that of each split;
        by default one for every 10,000 records.
      tokens: Storage of the tokens: little-endian bytes of the smallest type that fits the
        vocabulary, or an int64_list.
      formats: Formats of the shards, each with the same records: `tfrecord`, and
        `array_record` if it is listed too.
    """

    directory: PathStr
    name: Name
    split: Splits = "train"
    num_shards: NumShards | dict[Name, NumShards] | None = None
    tokens: Literal["bytes", "int64_list"] = "bytes"
    formats: tuple[str, ...] = (PRIMARY.name,)

    @pydantic.field_validator("formats")
    @classmethod
    def _formats_are_known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return check_formats(formats)

    @pydantic.field_validator("directory")
    @classmethod
    def _not_the_root(cls, directory: str) -> str:
        if not directory.strip("/ "):
            raise ValueError(f"expected a directory below the root, got {directory!r}")
        filesystem.refuse_read_only(directory)
        return directory

    @pydantic.field_validator("split", mode="before")
    @classmethod
    def _names_shares_or_parts(cls, split: object) -> object:
        return check_splits(split)

    @pydantic.field_validator("num_shards", mode="before")
    @classmethod
    def _one_or_one_each(cls, num_shards: object) -> object:
        return None if num_shards is None else check_num_shards(num_shards)

    @pydantic.model_validator(mode="after")
    def _shards_for_every_split(self) -> "OutputConfig":
        names = list(self.split_names)
        match self.num_shards:
            case dict() as given if given.keys() != set(names):
                raise ValueError(f"expected num_shards for {names}, got it for {list(given)}")
            case int() as total if total < len(names):
                raise ValueError(f"expected num_shards of {len(names)} or more, got {total}")
        return self

    @property
    def split_names(self) -> tuple[str, ...]:
        """The names of the splits, in the order of the config."""
        return (self.split,) if isinstance(self.split, str) else tuple(self.split)

    @property
    def shares(self) -> dict[str, float] | None:
        """The share of each split; None if they are not divided by shares."""
        if isinstance(self.split, str):
            return None
        found = {k: float(v) for k, v in self.split.items() if not isinstance(v, str)}
        return found or None

    @property
    def parts(self) -> dict[str, str] | None:
        """What the source calls each split; None if it does not divide them."""
        if isinstance(self.split, str):
            return None
        return {k: v for k, v in self.split.items() if isinstance(v, str)} or None


class TokenizeConfig(FrozenModel):
    """One tokenization job.

    Attributes:
      source: The images.
      tokenizer: Directory of a tokenizer.
      output: What is written where.
      views: Crops and flips of every image, each of which becomes a record. A policy without
        keys of its own is written as its name.
      crop: Another crop policy than the tokenizer's own, see `image.crop` of `fsq train`. It
        changes a sixth of the tokens or more; plan and summary say so.
      buckets: Height and width of each size that images are fitted to, for encoders that take
        any size; an image goes to the one with the nearest aspect ratio. Without them, the size
        of the tokenizer.
      decode: Which image files are decoded.
      filter: Which images are tokenized, by their size. The others are rejects of the stage
        `filter`, which `max_reject_fraction` does not limit.
      batch_size: Images per batch of the encoder; the last batch is padded.
      runtime: What runs the encoder. `auto` takes the fastest on this machine that gives the
        tokens of the reference, for small jobs the reference itself.
      precision: Of the encoder; bfloat16 changes a few per cent of the tokens.
      max_reject_fraction: Share of the images that may be rejected; a job with more fails.
        Images that `filter` leaves out do not count.
      read_timeout_seconds: Time limit for reading one record.
      read_tries: How often a record whose read stalled is read again before it is rejected.
    """

    source: SourceConfig
    tokenizer: PathStr
    output: OutputConfig
    views: Annotated[tuple[ViewPolicyConfig, ...], pydantic.Field(min_length=1)] = DEFAULT_VIEWS
    crop: CropName | None = None
    buckets: Annotated[tuple[Bucket, ...], pydantic.Field(min_length=1)] | None = None
    decode: DecodeRules = DecodeRules()
    filter: SizeFilter | None = None
    # At least 8: with one image per batch the result can depend on the number of threads.
    batch_size: Annotated[int, pydantic.Field(ge=8, le=65_536)] = 256
    runtime: Literal["auto", RuntimeName] = "auto"
    precision: Precision = "float32"
    max_reject_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    read_timeout_seconds: Annotated[float, pydantic.Field(gt=0, le=86_400)] = 120.0
    read_tries: Annotated[int, pydantic.Field(ge=1, le=100)] = 3

    @pydantic.field_validator("views")
    @classmethod
    def _views_differ(cls, views: tuple[ViewPolicy, ...]) -> tuple[ViewPolicy, ...]:
        names = [name for policy in views for name in policy.names]
        if len(set(names)) != len(names):
            raise ValueError(f"expected each view once, got {names}")
        return views

    @pydantic.field_validator("buckets", mode="before")
    @classmethod
    def _buckets_are_pairs(cls, buckets: object) -> object:
        if buckets is None:
            return None
        if not isinstance(buckets, list | tuple) or not buckets:
            raise ValueError(f"expected a list of [height, width], got {str(buckets)[:80]}")
        return [check_pair(bucket) for bucket in buckets]

    @pydantic.model_validator(mode="after")
    def _buckets_differ(self) -> "TokenizeConfig":
        buckets = self.buckets or ()
        if len(set(buckets)) != len(buckets):
            raise ValueError(f"expected each bucket once, got {[list(one) for one in buckets]}")
        if buckets and self.output.tokens != "bytes":
            raise ValueError(
                "expected output.tokens 'bytes' with buckets, because the number of tokens of an "
                f"image depends on its bucket, got {self.output.tokens!r}"
            )
        return self

    def open_source(self) -> Source:
        """Returns the source, of the parts that `output.split` names, if any.

        Raises:
          RequestError: The source does not know such parts.
        """
        parts = self.output.parts
        return self.source.open() if parts is None else self.source.open_parts(parts)

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the views of every image, in the order of their policies."""
        return tuple(name for policy in self.views for name in policy.names)
