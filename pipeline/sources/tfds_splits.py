"""Split expressions of tensorflow-datasets, such as 'train[:90%]+test': the records they mean.

tensorflow-datasets itself parses an expression and rounds its bounds, so that it
means here what it means in `as_dataset(split=...)`.
"""

import itertools
import os
from typing import Any

from fsq.errors import RequestError
from pipeline.sources.tfrecord_files import Expected


def expected_files(builder: Any, expression: str, where: str) -> list[Expected]:
    """Returns the files of a split, or the sections of files that an expression means.

    Args:
      builder: A builder of tensorflow-datasets.
      expression: A split, or an expression.
      where: The key of the config, for messages.

    Raises:
      RequestError: It is no expression, means no image, or means one twice.
    """
    splits = builder.info.splits
    if expression in splits:
        return _whole_files(builder, expression)
    try:
        found = splits[expression].file_instructions
    except Exception as error:  # tfds raises what its parser and its template layer raise
        # The first of its lines repeats the expression and gives an address.
        reason = str(error).strip().splitlines()[-1]
        raise RequestError(
            f"{where}: expected one of {', '.join(sorted(splits))}, or an expression such as "
            f"'{min(splits, default='train')}[:90%]', got {expression!r}: {reason}"
        ) from error
    files = [
        Expected(one.filename, one.examples_in_shard, range(one.skip, one.skip + one.take))
        for one in found
        if one.take
    ]
    if not files:
        raise RequestError(
            f"{where}: expected at least one image, got none in {expression!r}. Widen it."
        )
    refuse_overlap({expression: files}, where)
    return files


def refuse_overlap(files: dict[str, list[Expected]], where: str) -> None:
    """Refuses a record that is meant twice.

    Args:
      files: Files and sections, by the expression or the split that means them.
      where: The key of the config, for messages.

    Raises:
      RequestError: Two sections have a record in common.
    """
    sections = sorted(
        (one.path, numbers.start, numbers.stop, name)
        for name, some in files.items()
        for one in some
        if (numbers := range(one.records or 0) if one.section is None else one.section)
    )
    for (path, _, stop, name), (other, start, _, other_name) in itertools.pairwise(sections):
        if path == other and start < stop:
            names = f"{name!r} and {other_name!r}"
            twice = f"twice in {name!r}" if name == other_name else f"in {names}"
            raise RequestError(
                f"{where}: expected each image once, got record {start:,} of {path} {twice}. "
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
