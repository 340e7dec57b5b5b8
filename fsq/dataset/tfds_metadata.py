"""TFDS metadata: features.json and dataset_info.json, which tensorflow-datasets reads.

The library is imported with this module, never in a thread of a job: while it is
imported it puts an import function of its own in place of Python's, and an import in
another thread fails.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from fsq.dataset.class_names import names_file_of, render_names
from fsq.dataset.formats import FORMATS
from fsq.dataset.records import GRID, CarriedFeature
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem
from fsq.storage.temporary import temporary_folder


class WrittenSplit(NamedTuple):
    """A split of a dataset.

    Attributes:
      name: Its name.
      shard_records: Number of records in each of its shards.
      size_bytes: Size of all its shards in the first format.
    """

    name: str
    shard_records: list[int]
    size_bytes: int


def write_metadata(
    directory: str,
    *,
    name: str,
    splits: Sequence[WrittenSplit],
    contract: TokenContract,
    features: Sequence[CarriedFeature],
    formats: Sequence[str],
) -> None:
    """Writes both files, and the class names, with tensorflow-datasets' own writer.

    It supports fewer kinds of paths than this project and does not write atomically, so
    it writes into a temporary local folder.

    Args:
      directory: Path of the dataset.
      name: Name of the dataset.
      splits: The splits.
      contract: The token contract.
      features: Carried features of the records.
      formats: Shard formats; the first is the one that tensorflow-datasets reads by default.
    """
    with temporary_folder() as staging:
        infos = [_split_info(split, name, staging, formats[0]) for split in splits]
        # The writer looks for a shard of each split, of which it uses only the name.
        placeholders = [Path(info.filepaths[0]) for info in infos]
        for placeholder in placeholders:
            placeholder.touch()
        tfds.folder_dataset.write_metadata(
            data_dir=staging,
            features=tfds.features.FeaturesDict(_features(contract, features)),
            split_infos=infos,
            version="1.0.0",
            check_data=False,
            description=f"Tokens of {contract.vocab_size} codes, "
            f"{contract.show_grid} per image, row by row.",
        )
        if others := [name for name in formats[1:] if FORMATS[name].known_to_tfds]:
            info = tfds.builder_from_directory(staging).info
            for other in others:
                info.add_alternative_file_format(other)
            info.write_to_directory(staging)
            Path(staging, "metadata.json").unlink()  # the builder's metadata, which is empty
        for placeholder in placeholders:
            placeholder.unlink()
        for path in sorted(Path(staging).iterdir()):
            filesystem.write(filesystem.join(directory, path.name), path.read_bytes())
    _write_class_names(directory, features)


def _split_info(split: WrittenSplit, name: str, directory: str, shard_format: str) -> Any:
    return tfds.core.SplitInfo(
        name=split.name,
        shard_lengths=split.shard_records,
        num_bytes=split.size_bytes,
        filename_template=tfds.core.ShardedFileTemplate(
            dataset_name=name, data_dir=directory, split=split.name, filetype_suffix=shard_format
        ),
    )


def _write_class_names(directory: str, features: Sequence[CarriedFeature]) -> None:
    """Writes them as UTF-8: tensorflow-datasets would use the encoding of the locale."""
    for carried in features:
        if carried.class_names:
            path = filesystem.join(directory, names_file_of(carried.name))
            filesystem.write(path, render_names(carried.class_names))


def _features(contract: TokenContract, features: Sequence[CarriedFeature]) -> dict[str, Any]:
    count = None if contract.buckets else contract.tokens_per_image
    if contract.dtype == "int64_list":
        tokens = tfds.features.Tensor(shape=(count,), dtype=np.int64)
    else:
        tokens = tfds.features.Tensor(
            shape=(count,),
            dtype=np.dtype(contract.dtype).type,
            encoding=tfds.features.Encoding.BYTES,
        )
    found = {
        "tokens": tokens,
        "key": tfds.features.Text(),
        "view": tfds.features.Text(),
        "crop": tfds.features.Tensor(shape=(4,), dtype=np.int64),
        "flip": tfds.features.Scalar(dtype=np.bool_),
        "source_size": tfds.features.Tensor(shape=(2,), dtype=np.int64),
    }
    if contract.buckets:
        found[GRID] = tfds.features.Tensor(shape=(2,), dtype=np.int64)
    for carried in features:
        match carried.kind:
            case _ if carried.class_names:
                found[carried.name] = tfds.features.ClassLabel(num_classes=len(carried.class_names))
            case "bytes":
                found[carried.name] = tfds.features.Text()
            case kind:
                found[carried.name] = tfds.features.Scalar(dtype=np.dtype(kind).type)
    return found
