"""Split expressions of tensorflow-datasets, such as 'train[:90%]+test': the records they mean.

tensorflow-datasets itself parses an expression and rounds its bounds, so that it
means here what it means in `as_dataset(split=...)`.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

from fsq.errors import RequestError
from pipeline.sources.same_file import refuse_same_file
from pipeline.sources.tfrecord_files import Expected


def expected_files(
    builder: Any,
    expressions: Mapping[str, str] | Mapping[None, str],
    heartbeat: Callable[[], None],
) -> list[Expected]:
    """Returns the files, or sections of files, that some splits or expressions mean.

    Args:
      builder: A builder of tensorflow-datasets.
      expressions: Each by the split that it becomes; by None if there is only one.
      heartbeat: See `Source.list`.

    Raises:
      RequestError: One is no expression, means no image, or means one that was meant before.
    """
    found = [
        one._replace(split=split)
        for split, expression in expressions.items()
        for one in _files_of(builder, expression, _key_of(split))
    ]
    refuse_same_file(
        ((one.path, _key_of(one.split)) for one in found),
        "Copy the dataset again, with a file of its own for each shard.",
        heartbeat,
    )
    _refuse_overlap(found)
    return found


def _key_of(split: str | None) -> str:
    """Returns the key of the config that has the expression of a split, for messages."""
    return "source.split" if split is None else f"output.split.{split}"


def _files_of(builder: Any, expression: str, key: str) -> list[Expected]:
    splits = builder.info.splits
    if expression in splits:
        return _whole_files(builder, expression)
    try:
        found = splits[expression].file_instructions
    except Exception as error:  # tfds raises what its parser and its template layer raise
        # The first of its lines repeats the expression and gives an address.
        reason = (str(error).strip().splitlines() or [repr(error)])[-1]
        raise RequestError(
            f"{key}: expected one of {', '.join(sorted(splits))}, or an expression such as "
            f"'{min(splits, default='train')}[:90%]', got {expression!r}: {reason}"
        ) from error
    files = [
        Expected(one.filename, one.examples_in_shard, range(one.skip, one.skip + one.take))
        for one in found
        if one.take
    ]
    if not files:
        raise RequestError(
            f"{key}: expected at least one image, got none in {expression!r}. Widen it."
        )
    return files


def _refuse_overlap(files: list[Expected]) -> None:
    sections = sorted(
        (one.path, numbers.start, numbers.stop, _key_of(one.split))
        for one in files
        if (numbers := range(one.records or 0) if one.section is None else one.section)
    )
    for (path, _, stop, key), (other, start, _, other_key) in itertools.pairwise(sections):
        if path == other and start < stop:
            twice = "twice" if key == other_key else f"also in {other_key}"
            raise RequestError(
                f"{key}: expected each image once, got record {start:,} of {path} {twice}. "
                "Change the bounds, so that they do not overlap."
            )


def _whole_files(builder: Any, name: str) -> list[Expected]:
    """Returns all shards of a split, empty ones too, with their lengths."""
    split = builder.info.splits[name]
    try:
        paths = [os.fspath(path) for path in split.filepaths]
        if not paths:
            raise ValueError(f"no lengths of the shards of {name!r}, which old versions left out")
        if "\0" in "".join(paths):
            raise ValueError(f"the file name {paths[0]!r}")
        return [
            Expected(path, length) for path, length in zip(paths, split.shard_lengths, strict=True)
        ]
    except Exception as error:  # tfds raises what its template and JSON layers raise
        raise RequestError(
            f"{builder.data_dir}/dataset_info.json: expected name and length of every shard, "
            f"got: {' '.join(str(error).split())[:200]}. Prepare the dataset again, "
            "or read its TFRecord files as source.kind tfrecord."
        ) from error
