"""features.json and dataset_info.json, so that tensorflow-datasets reads a dataset by itself."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsq.dataset.formats import FORMATS
from fsq.dataset.records import CarriedFeature
from fsq.spec.contract import TokenContract
from fsq.storage import filesystem


def write_metadata(
    directory: str,
    *,
    name: str,
    split: str,
    contract: TokenContract,
    features: Sequence[CarriedFeature],
    shard_records: Sequence[int],
    size_bytes: int,
    formats: Sequence[str],
) -> None:
    """Writes both files, and the names of the classes, through tensorflow-datasets itself.

    It knows fewer kinds of paths than this project, and writes in several steps, so it
    writes into a temporary folder of this machine.

    Args:
      directory: The dataset.
      name: Its name.
      split: Its split.
      contract: What its tokens mean.
      features: What its records carry along.
      shard_records: Records of every shard.
      size_bytes: Of all shards in the first format.
      formats: Shard formats; tensorflow-datasets takes the first unless asked for another.
    """
    import tensorflow_datasets as tfds

    with tempfile.TemporaryDirectory() as staging:
        template = tfds.core.ShardedFileTemplate(
            dataset_name=name, data_dir=staging, split=split, filetype_suffix=formats[0]
        )
        # It looks for a shard, and takes nothing from it but the name.
        placeholder = Path(template.sharded_filepath(shard_index=0, num_shards=len(shard_records)))
        placeholder.touch()
        tfds.folder_dataset.write_metadata(
            data_dir=staging,
            features=tfds.features.FeaturesDict(_features(contract, features)),
            split_infos=[
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=list(shard_records),
                    num_bytes=size_bytes,
                    filename_template=template,
                )
            ],
            version="1.0.0",
            check_data=False,
            description=f"Tokens of {contract.vocab_size} codes, "
            f"{contract.grid[0]} x {contract.grid[1]} per image, row by row.",
        )
        if others := [name for name in formats[1:] if FORMATS[name].known_to_tfds]:
            info = tfds.builder_from_directory(staging).info
            for other in others:
                info.add_alternative_file_format(other)
            info.write_to_directory(staging)
            Path(staging, "metadata.json").unlink()  # of a builder's own things; there are none
        placeholder.unlink()
        for path in sorted(Path(staging).iterdir()):
            filesystem.write(filesystem.join(directory, path.name), path.read_bytes())


def _features(contract: TokenContract, features: Sequence[CarriedFeature]) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    count = contract.tokens_per_image
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
    }
    for carried in features:
        match carried.kind:
            case _ if carried.class_names:
                found[carried.name] = tfds.features.ClassLabel(names=list(carried.class_names))
            case "bytes":
                found[carried.name] = tfds.features.Text()
            case kind:
                found[carried.name] = tfds.features.Scalar(dtype=np.dtype(kind).type)
    return found
