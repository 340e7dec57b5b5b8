"""Input files: the base of sources that read files with many images each; finding the files."""

import abc
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from reprlib import repr as brief
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import pydantic

from fsq.errors import DataError, RequestError
from fsq.storage import filesystem
from fsq.storage.path_expansion import expand_path, literal_path, looked_in
from fsq.yaml_config import ExpandedPath
from pipeline.core.records import Unit
from pipeline.sources.base import BaseSourceConfig, Source
from pipeline.sources.file_patterns import match_files
from pipeline.sources.listing import ListedFile, Listing, file_name
from pipeline.sources.same_file import refuse_same_file
from pipeline.sources.shard_names import missing_shards, pattern_of
from pipeline.sources.units import units_of_numbered_keys

# What to do about a damaged or missing file: refuse the job, or reject each unreadable record.
Damaged = Literal["refuse", "reject"]

# Names or patterns of files, by the split that they become; by None if there is only one.
Patterns = Mapping[str, tuple[str, ...]] | Mapping[None, tuple[str, ...]]


class InputFile(NamedTuple):
    """A file to list.

    Attributes:
      path: Its path; a missing file has one too.
      name: Its name in keys and messages.
      split: The split of its records; None if there is only one.
    """

    path: str
    name: str
    split: str | None


class FileFacts(NamedTuple):
    """Size of a file in bytes, and its modification time in ns since the epoch."""

    size_bytes: int = 0
    modified_ns: int = 0


def facts_of(path: str) -> FileFacts:
    """Looks a file up.

    Raises:
      OSError: It cannot be read.
    """
    modified_ns = filesystem.modified_ns(path)
    with filesystem.open_read(path) as file:
        return FileFacts(file.seek(0, os.SEEK_END), modified_ns)


def numbered_file(
    one: InputFile, facts: FileFacts, count: int, stride: int, *, lost: int, damage: str | None
) -> ListedFile:
    """Returns a file whose records are found by their numbers, so that offsets say nothing.

    Args:
      one: The file.
      facts: Its size and time.
      count: Number of its records that can be read.
      stride: See `Source.list`.
      lost: Number of those that cannot.
      damage: Why these cannot.
    """
    return ListedFile(
        path=one.path,
        name=one.name,
        size_bytes=facts.size_bytes,
        modified_ns=facts.modified_ns,
        num_readable=count,
        offsets=np.zeros(-(-count // stride), np.int64),
        stride=stride,
        num_unreadable=lost,
        damage=damage,
        split=one.split,
    )


def _expand(files: object) -> object:
    names = [files] if isinstance(files, str) else files
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"expected a name, a pattern, or a list of these, got {brief(files)}")
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"expected file names or patterns, got {brief(files)}")
    expanded = tuple(map(expand_path, names))
    return expanded[0] if isinstance(files, str) else expanded


def _literal(files: str | tuple[str, ...]) -> str | list[str]:
    return literal_path(files) if isinstance(files, str) else [*map(literal_path, files)]


# A name or pattern of files, or several.
Files = Annotated[
    ExpandedPath | tuple[ExpandedPath, ...],
    pydantic.BeforeValidator(_expand),
    pydantic.PlainSerializer(_literal, return_type=str | list[str]),
]


class FilesConfig(BaseSourceConfig):
    """Base class of the configs of sources that read files with many images each.

    Attributes:
      kind: The name of the source; each config narrows it to a Literal.
      files: Name or pattern of the files, or a list of these; exactly what they match is read.
        Required unless `output.split` has names or patterns.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    # What the files are, in messages; each config says its own.
    noun: ClassVar[str] = "files"

    kind: Any
    files: Files | None = None
    damaged: Damaged = "refuse"

    @abc.abstractmethod
    def open_files(self, patterns: Patterns) -> Source:
        """Returns the source that reads the files of some patterns; reads nothing yet."""

    def open(self) -> Source:
        """Returns the source that this config describes; reads nothing yet."""
        if self.files is None:
            raise RequestError(
                "source.files: expected names or patterns of files, got none. Add the key 'files'."
            )
        patterns = (self.files,) if isinstance(self.files, str) else self.files
        return self.open_files({None: patterns})

    def open_parts(self, parts: Mapping[str, str]) -> Source:
        """Returns the source of some parts, which are names or patterns of files."""
        if self.files is not None:
            raise RequestError(
                f"source.files: expected none beside the patterns in output.split, "
                f"got {brief(self.files)}. Remove it."
            )
        return self.open_files({split: (expand_path(part),) for split, part in parts.items()})


AnyFilesConfig = TypeVar("AnyFilesConfig", bound=FilesConfig)


class FilesSource(Source, Generic[AnyFilesConfig]):
    """Base class of sources that read files with many images each.

    Args:
      config: The config.
      patterns: Names or patterns of the files, by split.
    """

    def __init__(self, config: AnyFilesConfig, patterns: Patterns):
        self.config = config
        self._patterns = patterns

    @property
    def keys_are_numbers(self) -> bool:
        """Whether keys are '<file>__<number>', which tells where a record is."""
        return True

    def describe(self) -> str:
        """Returns the name of the input in messages."""
        return describe_patterns(self._patterns)

    def find(self, heartbeat: Callable[[], None]) -> list[InputFile]:
        """Returns the files; see `find_files`."""
        return find_files(self._patterns, self.config.noun, self.config.damaged, heartbeat)

    def units_with(self, listing: Listing, keys: Collection[str]) -> Iterator[Unit]:
        """Yields units of some keys; see `Source.units_with`."""
        if self.keys_are_numbers:
            yield from units_of_numbered_keys(listing, keys)
        else:
            yield from super().units_with(listing, keys)


def describe_patterns(patterns: Patterns) -> str:
    """Returns the name of the input in messages."""
    return ", ".join(itertools.chain(*patterns.values()))


def find_files(
    patterns: Patterns,
    noun: str,
    damaged: Damaged,
    heartbeat: Callable[[], None],
    *,
    where: str = "source.files",
) -> list[InputFile]:
    """Returns the files that some patterns match, and missing shards if their loss is accepted.

    A file has its base name; if two have the same, all have their paths from the deepest folder
    that they share.

    Args:
      patterns: Names or patterns, by split.
      noun: What the files are, in messages.
      damaged: Whether to refuse a missing shard, or to return it.
      heartbeat: See `Source.list`.
      where: The key of the config that has the patterns, where no split has.

    Raises:
      RequestError: A name or pattern matches no file, or two paths are one file.
      DataError: A shard is missing.
    """

    def key_of(split: str | None) -> str:
        return where if split is None else f"output.split.{split}"

    found = [
        (path, split)
        for split, some in patterns.items()
        for path in _matching_files(some, key_of(split), noun, damaged, heartbeat)
    ]
    refuse_same_file(
        ((path, key_of(split)) for path, split in found),
        "Name it once, in one spelling and without links to it.",
        heartbeat,
    )
    first: dict[str, str | None] = {}
    for path, split in found:
        if (other := first.setdefault(path, split)) != split:
            raise RequestError(
                f"{key_of(split)}: expected each file in one split, got {path}, which "
                f"is also in {key_of(other)}. Change the patterns."
            )
    names = _names_of(first)
    return [InputFile(path, names[path], split) for path, split in found]


def _matching_files(
    patterns: Sequence[str], key: str, noun: str, damaged: Damaged, heartbeat: Callable[[], None]
) -> list[str]:
    paths: set[str] = set()
    missing: set[str] = set()
    names: list[str] = []
    for pattern in patterns:
        heartbeat()
        _refuse_folder(pattern, key, noun)
        try:
            matched = match_files(pattern)
        except ValueError as error:
            raise RequestError(f"{key}: {error}. Name fewer.") from error
        if not matched.paths or any(_is_pattern(name) for name in matched.missing):
            name = matched.missing[0] if matched.missing else pattern
            raise RequestError(
                f"{key}: expected {noun}, found none that match {name!r}{looked_in(name)}. "
                "Check the path."
            )
        paths.update(matched.paths)
        missing.update(matched.missing)
        names += matched.names
    missing = (missing | {*missing_shards(sorted(paths), names)}) - paths
    if missing and damaged == "refuse":
        _refuse_missing(sorted(missing), sorted(paths), key)
    return sorted(paths | missing)


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?")


def _refuse_folder(pattern: str, key: str, noun: str) -> None:
    folder = pattern.rstrip("/")
    if filesystem.is_local(folder) and os.path.isdir(folder):
        raise RequestError(
            f"{key}: expected {noun}, got the folder {pattern!r}. Name its files, e.g. {folder}/*."
        )


def _refuse_missing(missing: list[str], paths: list[str], key: str) -> None:
    here = pattern_of(paths)
    raise DataError(
        f"{missing[0]}: expected a file that can be read, got: No such file or directory "
        f"({len(missing):,} of {len(missing) + len(paths):,} files that {key} asks for "
        f"are missing). Copy it, or name only those that are here in {key}, "
        f"{'e.g. ' + here if here else 'a pattern or a list of names'}; or set source.damaged "
        "to 'reject', which counts a missing file as one reject."
    )


def _names_of(paths: Iterable[str]) -> dict[str, str]:
    """Returns the names of files: their base names, or more of their paths if these repeat."""
    names = {path: file_name(path) for path in paths}
    if len({*names.values()}) == len(names):
        return names
    folders = [path.split("/")[:-1] for path in names]
    levels = itertools.takewhile(lambda level: len({*level}) == 1, zip(*folders, strict=False))
    shared = sum(1 for _ in levels)
    return {path: file_name(path, parts=len(path.split("/")) - shared) for path in names}
