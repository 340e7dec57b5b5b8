"""TFRecord source: files of tf.train.Example with named fields."""

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from reprlib import repr as brief
from typing import Literal

import pydantic

from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.path_expansion import expand_path, literal_path, looked_in
from fsq.yaml_config import ExpandedPath, Name
from pipeline.core.records import BadRecord, ImageRecord, Unit
from pipeline.sources.base import NO_TIMEOUTS, BaseSourceConfig, Source, no_heartbeat
from pipeline.sources.example_fields import check_keys, field_kinds
from pipeline.sources.example_reader import Fields, read_examples
from pipeline.sources.listing import Listing, file_name, listing_of
from pipeline.sources.same_file import refuse_same_file
from pipeline.sources.shard_names import missing_shards, pattern_of
from pipeline.sources.tfrecord_files import (
    Damaged,
    Expected,
    check_carried_names,
    list_record_files,
)
from pipeline.sources.units import units_of_numbered_keys

# Names or patterns of files, by the split that they become; by None if there is only one.
Patterns = Mapping[str, tuple[str, ...]] | Mapping[None, tuple[str, ...]]


class TfrecordConfig(BaseSourceConfig):
    """TFRecord files of tf.train.Example with named fields.

    Attributes:
      files: Name or pattern of the files, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      image: Field with the encoded image.
      key: Field with the key of the record; by default '<file>__<number>'.
      carry: Fields to carry along, by their names in the token records.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
      empty_files: Refuse files of 0 bytes, or allow them: plan, summary and manifest list them.
    """

    kind: Literal["tfrecord"]
    files: ExpandedPath | tuple[ExpandedPath, ...] | None = None
    image: str
    key: str | None = None
    carry: dict[Name, str] = pydantic.Field(default_factory=dict)
    damaged: Damaged = "refuse"
    empty_files: Literal["refuse", "allow"] = "refuse"

    @pydantic.field_validator("files", mode="before")
    @classmethod
    def _names_or_patterns(cls, files: object) -> object:
        names = [files] if isinstance(files, str) else files
        if not isinstance(names, list | tuple) or not names:
            raise ValueError(f"expected a name, a pattern, or a list of these, got {brief(files)}")
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"expected file names or patterns, got {brief(files)}")
        expanded = tuple(map(expand_path, names))
        return expanded[0] if isinstance(files, str) else expanded

    @pydantic.field_serializer("files")
    def _literal(self, files: str | tuple[str, ...] | None) -> str | list[str] | None:
        if files is None or isinstance(files, str):
            return None if files is None else literal_path(files)
        return [*map(literal_path, files)]

    def open(self) -> "TfrecordSource":
        """Returns the source that this config describes; reads nothing yet."""
        if self.files is None:
            raise RequestError(
                "source.files: expected names or patterns of files, got none. Add the key 'files'."
            )
        patterns = (self.files,) if isinstance(self.files, str) else self.files
        return TfrecordSource(self, {None: patterns})

    def open_parts(self, parts: Mapping[str, str]) -> "TfrecordSource":
        """Returns the source of some parts, which are names or patterns of files."""
        if self.files is not None:
            raise RequestError(
                f"source.files: expected none beside the patterns in output.split, "
                f"got {brief(self.files)}. Remove it."
            )
        return TfrecordSource(self, {split: (expand_path(part),) for split, part in parts.items()})


class TfrecordSource(Source):
    """Keys are a field of the record, or '<file>__<number>'."""

    def __init__(self, config: TfrecordConfig, patterns: Patterns):
        self.config = config
        self._patterns = patterns

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return ", ".join(itertools.chain(*self._patterns.values()))

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        # The expected number of records is unknown.
        expected = _input_files(self._patterns, self.config, heartbeat)
        files = list_record_files(expected, self.config.damaged, stride, heartbeat)
        wanted = [self.config.image, *self.config.carry.values()]
        wanted += [self.config.key] if self.config.key else []
        kinds = field_kinds(files, wanted, heartbeat)
        if kinds[self.config.image] != "bytes":
            raise RequestError(
                f"source.image: expected a field of bytes, got {kinds[self.config.image]} "
                f"in {self.config.image!r}. Name the field that holds the encoded image."
            )
        if self.config.key and kinds[self.config.key] != "bytes":
            raise RequestError(
                f"source.key: expected a field of bytes, got {kinds[self.config.key]} "
                f"in {self.config.key!r}. Name another, or leave the key out."
            )
        if self.config.key:
            check_keys(files, self.config.key, heartbeat)
        check_carried_names(self.config.carry)
        features = tuple(
            CarriedFeature(name, field, kinds[field]) for name, field in self.config.carry.items()
        )
        return listing_of(files, features)

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units of some keys; see `Source.units_with`."""
        if self.config.key:
            yield from super().units_with(listing, keys)
        else:
            yield from units_of_numbered_keys(listing, keys)

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        fields = Fields(self.config.image, self.config.key, features)
        return read_examples(unit, fields, self.config.damaged, timed_out)


def _input_files(
    patterns: Patterns, config: TfrecordConfig, heartbeat: Callable[[], None]
) -> list[Expected]:
    """Returns the files that some patterns match, and missing shards if their loss is accepted.

    Raises:
      RequestError: A name or pattern matches no file, or two files are one or have one base name.
      DataError: A shard is missing.
    """
    found = [
        Expected(path, may_be_empty=config.empty_files == "allow", split=split)
        for split, some in patterns.items()
        for path in _matching_files(some, _key_of(split), config.damaged)
    ]
    refuse_same_file(
        ((file.path, _key_of(file.split)) for file in found),
        "Name it once, in one spelling and without links to it.",
        heartbeat,
    )
    _check_base_names(found)
    return found


def _key_of(split: str | None) -> str:
    """Returns the key of the config that has the patterns of a split, for messages."""
    return "source.files" if split is None else f"output.split.{split}"


def _matching_files(patterns: Sequence[str], key: str, damaged: Damaged) -> list[str]:
    paths = sorted({path for pattern in patterns for path in _glob(pattern, key)})
    missing = missing_shards(paths, patterns)
    if missing and damaged == "refuse":
        here = pattern_of(paths)
        raise DataError(
            f"{missing[0]}: expected a file that can be read, got: No such file or directory "
            f"({len(missing):,} of {len(missing) + len(paths):,} files that {key} asks for "
            f"are missing). Copy it, or name only those that are here in {key}, "
            f"{'e.g. ' + here if here else 'a pattern or a list of names'}; or set source.damaged "
            "to 'reject', which counts a missing file as one reject."
        )
    return sorted([*paths, *missing])


def _glob(pattern: str, key: str) -> list[str]:
    folder = pattern.rstrip("/")
    if filesystem.is_local(folder) and os.path.isdir(folder):
        raise RequestError(
            f"{key}: expected TFRecord files, got the folder {pattern!r}. "
            f"Name its files, e.g. {folder}/*."
        )
    paths = filesystem.glob(pattern)
    if not paths:
        in_folder = any(mark in pattern.rpartition("/")[0] for mark in "*?")
        raise RequestError(
            f"{key}: expected TFRecord files, found none that match "
            f"{pattern!r}{looked_in(pattern)}. "
            + (
                "Write '*' and '?' in the last part of a path only; give several in a list."
                if in_folder
                else "Check the path."
            )
        )
    return paths


def _check_base_names(files: list[Expected]) -> None:
    """Refuses files of one base name, which would share keys and a line of the accounts."""
    first: dict[str, Expected] = {}
    for file in files:
        other = first.setdefault(file_name(file.path), file)
        if other.path == file.path and other.split != file.split:
            raise RequestError(
                f"{_key_of(file.split)}: expected each file in one split, got {file.path}, which "
                f"is also in {_key_of(other.split)}. Change the patterns."
            )
        if other.path != file.path:
            raise RequestError(
                f"{_key_of(file.split)}: expected files with different names, because keys and "
                f"accounts name a file without its folder, got {other.path} and {file.path}. "
                "Rename one, or tokenize them into two datasets."
            )
