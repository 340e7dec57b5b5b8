"""Configs: YAML in, frozen models out. Imports neither TensorFlow nor Beam."""

from typing import Annotated, Literal

import pydantic

from fsq.dataset.formats import FileFormat
from fsq.images.spec import DecodeRules
from fsq.runtimes import Precision, RuntimeName
from fsq.yaml_config import Name, Path_, _Frozen
from pipeline.sources import SourceConfig

__all__ = ["OutputConfig", "TokenizeConfig"]


class OutputConfig(_Frozen):
    """Where the dataset goes and what it is called."""

    directory: Path_
    name: Name
    split: Name = "train"
    num_shards: Annotated[int, pydantic.Field(ge=1, le=100_000)] | None = None
    tokens: Literal["bytes", "int64_list"] = "bytes"
    # ArrayRecord files hold the same records as the TFRecords, each to be had by its number.
    formats: tuple[FileFormat, ...] = ("tfrecord",)

    @pydantic.field_validator("formats")
    @classmethod
    def _formats_differ(cls, formats: tuple[FileFormat, ...]) -> tuple[FileFormat, ...]:
        if "tfrecord" not in formats or len(set(formats)) != len(formats):
            raise ValueError(
                f"expected [tfrecord] or [tfrecord, array_record], got {list(formats)}"
            )
        return formats

    @pydantic.field_validator("directory")
    @classmethod
    def _not_the_root(cls, directory: str) -> str:
        if not directory.strip("/ "):
            raise ValueError(f"expected a directory below the root, got {directory!r}")
        return directory

    @pydantic.field_validator("split")
    @classmethod
    def _not_reserved(cls, split: str) -> str:
        if split == "all":
            raise ValueError(
                "expected another name, 'all' means every split in tensorflow-datasets"
            )
        return split


class TokenizeConfig(_Frozen):
    """One tokenization job."""

    source: SourceConfig
    tokenizer: Path_
    output: OutputConfig
    views: Annotated[
        tuple[Literal["center", "center_flipped"], ...], pydantic.Field(min_length=1)
    ] = ("center",)
    decode: DecodeRules = DecodeRules()
    # 8 at least: with one image per batch a result can depend on the number of threads.
    batch_size: Annotated[int, pydantic.Field(ge=8, le=65_536)] = 256
    # auto: the fastest here whose tokens are the reference's; see fsq/runtimes.
    runtime: Literal["auto"] | RuntimeName = "auto"
    # Of the encoder; with bfloat16 some per cent of the tokens are others.
    precision: Precision = "float32"
    max_reject_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    # How long one record may take to be read, and how often it is tried.
    read_timeout_seconds: Annotated[float, pydantic.Field(gt=0, le=86_400)] = 120.0
    read_tries: Annotated[int, pydantic.Field(ge=1, le=100)] = 3

    @pydantic.field_validator("views")
    @classmethod
    def _views_differ(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(views)) != len(views):
            raise ValueError(f"expected each view once, got {list(views)}")
        return views
