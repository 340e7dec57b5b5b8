"""Configs: YAML in, frozen models out. Imports neither TensorFlow nor Beam."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml

from fsq.architecture import Side
from fsq.contract import QuantizerSpec, TokenizerSpec
from fsq.errors import RequestError
from fsq.images import DecodeRules
from fsq.runtimes import Precision, RuntimeName
from fsq.schema import parse
from fsq.training.recipe import TrainingSpec

Name = Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
Path_ = Annotated[str, pydantic.Field(min_length=1, pattern=r"^[^\x00]*$")]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


# What becomes of a damaged or missing record file: the job refuses it, or every record that is
# known to be lost is a reject.
Damaged = Literal["refuse", "reject"]


class TfdsSource(_Frozen):
    """A prepared tensorflow-datasets dataset: a directory, or a name inside a data_dir."""

    kind: Literal["tfds"]
    directory: Path_ | None = None
    name: str | None = None
    data_dir: Path_ | None = None
    split: str
    image: str = "image"
    carry: tuple[str, ...] = ()
    damaged: Damaged = "refuse"

    @pydantic.field_validator("carry")
    @classmethod
    def _carry_differs(cls, carry: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(carry)) != len(carry):
            raise ValueError(f"expected each feature once, got {list(carry)}")
        return carry

    @pydantic.model_validator(mode="after")
    def _one_place(self) -> "TfdsSource":
        if (self.directory is None) == (self.name is None):
            raise ValueError("expected either 'directory' or 'name', got both or neither")
        if self.data_dir is not None and self.name is None:
            raise ValueError("expected 'data_dir' together with 'name', got it with 'directory'")
        return self


class TfrecordSource(_Frozen):
    """TFRecord files of tf.train.Example with named fields."""

    kind: Literal["tfrecord"]
    files: Path_
    image: str
    key: str | None = None
    carry: dict[Name, str] = {}
    damaged: Damaged = "refuse"


class ImageFolderSource(_Frozen):
    """A folder of images; with `labels`, each image's folder is its class.

    Links that lead out of the folder are refused unless `follow_links` is set.
    """

    kind: Literal["image_folder"]
    directory: Path_
    labels: bool = True
    follow_links: bool = False


SourceConfig = Annotated[
    TfdsSource | TfrecordSource | ImageFolderSource, pydantic.Field(discriminator="kind")
]


FileFormat = Literal["tfrecord", "array_record"]


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


class TrainConfig(_Frozen):
    """One training run; `tensorboard` is a directory for its curves and pictures."""

    source: SourceConfig
    held_out: SourceConfig
    tokenizer: TokenizerSpec
    training: TrainingSpec
    output: Path_
    tensorboard: Path_ | None = None


class ImportConfig(QuantizerSpec):
    """One import: networks trained elsewhere, and what their tokens mean.

    Whatever decides pixels or tokens has to be said: how somebody else trained
    is not for a default to guess.
    """

    encoder: Path_
    decoder: Path_ | None = None
    grid: tuple[Side, Side] | None = None
    reference: Path_
    output: Path_

    @pydantic.model_validator(mode="after")
    def _nothing_is_guessed(self) -> "ImportConfig":
        unsaid = {"preset"} - self.model_fields_set
        unsaid |= {
            f"image.{name}" for name in {"pixel_range", "resize"} - self.image.model_fields_set
        }
        if unsaid:
            raise ValueError(
                f"expected {sorted(unsaid)[0]}, as the encoder was trained with, got none. Add it."
            )
        return self


Config = TypeVar("Config", bound=pydantic.BaseModel)


def load_config(path: str, model: type[Config]) -> Config:
    """Reads a YAML file into a config.

    Raises:
      RequestError: The file is missing, is not YAML, or does not fit the model.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        data: Any = yaml.safe_load(text)
        _check_keys(path, yaml.compose(text, yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: expected a config file, got: {reason}.") from error
    # PyYAML's own constructors of numbers and dates look up what a wrong value lacks.
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RequestError(f"{path}: expected a config that can be read, got: {reason}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = (getattr(error, "problem", None) or "unreadable")[:100]
        raise RequestError(f"{path}{line}: expected YAML, got: {problem}.") from error
    return parse(model, data, path)


def _check_keys(path: str, root: Any) -> None:
    """Refuses a key that comes twice; YAML's reader takes the last and says nothing."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))  # aliases make one node a part of many
        keys: dict[str, int] = {}
        for entry in node.value:
            key, value = entry if isinstance(entry, tuple) else (None, entry)
            waiting.append(value)
            name = getattr(key, "value", None)
            if isinstance(name, str):
                line = key.start_mark.line + 1
                if name in keys:
                    raise RequestError(
                        f"{path}:{line}: expected every key once, got {name[:60]!a} in line "
                        f"{keys[name]} too. Remove one."
                    )
                keys[name] = line


def dump_config(config: pydantic.BaseModel) -> str:
    """Renders a resolved config as YAML; the same config gives the same bytes."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)
