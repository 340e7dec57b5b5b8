"""Opens a dataset prepared by tensorflow-datasets; says what is wrong with one that is not."""

from pathlib import Path
from typing import Any

from fsq.errors import RequestError
from fsq.storage import filesystem
from fsq.storage.path_expansion import looked_in

INFO_FILE = "dataset_info.json"
FEATURES_FILE = "features.json"


def open_directory(directory: str) -> Any:
    """Returns the builder of the dataset in a directory.

    Raises:
      RequestError: There is none, or its metadata cannot be read.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(directory)
    except Exception as error:  # tfds raises what its JSON and file layers raise
        raise RequestError(
            "source.directory: expected a dataset prepared by tensorflow-datasets, "
            f"found {_what_is_wrong(directory, error)}"
        ) from error


def open_name(name: str, data_dir: str | None) -> Any:
    """Returns the builder of a prepared dataset, by name inside a data_dir.

    Raises:
      RequestError: There is none, or its metadata cannot be read.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    option = f" --data_dir {data_dir}" if data_dir else ""
    where = f"{data_dir}{looked_in(data_dir)}" if data_dir else "the default data_dir"
    # Not tfds.builder(), which looks for unprepared datasets on the network.
    try:
        return read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise RequestError(
            f"source.name: expected a prepared dataset {name!r} in {where}, found none. "
            f"Prepare it with 'tfds build {name}{option}'."
        ) from error
    except Exception as error:  # see above
        raise RequestError(
            f"source.name: expected a prepared dataset {name!r} in {where}, found one that "
            f"tensorflow-datasets cannot read: {_brief(error)}. Prepare it again with "
            f"'tfds build {name}{option} --overwrite'."
        ) from error


def _what_is_wrong(directory: str, error: Exception) -> str:
    """Returns what a directory holds in place of a dataset, and what to do."""
    if not filesystem.exists(directory):
        return f"no directory {directory!r}{looked_in(directory)}. Correct the path."
    if not filesystem.exists(filesystem.join(directory, INFO_FILE)):
        if versions := _versions(directory):
            return (
                f"no {INFO_FILE} in {directory!r} itself, but below it. Give the directory of one "
                f"version: {', '.join(versions[-3:])}."
            )
        return f"none in {directory!r}. Give the directory that holds {INFO_FILE}."
    if not filesystem.exists(filesystem.join(directory, FEATURES_FILE)):
        return (
            f"{INFO_FILE} but no {FEATURES_FILE} in {directory!r}, as versions of "
            "tensorflow-datasets before 4.0 left it. Prepare it again, or read its TFRecord files "
            "as source.kind tfrecord."
        )
    return (
        f"one in {directory!r} that it cannot read: {_brief(error)}. Prepare it again, or read "
        "its TFRecord files as source.kind tfrecord."
    )


def _versions(directory: str) -> list[str]:
    """Returns the datasets below a local directory: in a version, or in a config's version."""
    if not filesystem.is_local(directory):
        return []
    found = [
        path for depth in ("*", "*/*") for path in Path(directory).glob(f"{depth}/{INFO_FILE}")
    ]
    return sorted(path.parent.as_posix() for path in found)


def _brief(error: Exception) -> str:
    return f"{' '.join(str(error).split())[:200] or type(error).__name__}".rstrip(".")
