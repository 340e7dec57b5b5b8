"""features.json and dataset_info.json, so that tensorflow-datasets reads the dataset alone."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.job import Job
from pipeline.shards import ShardResult


def write_metadata(job: Job, shards: list[ShardResult]) -> None:
    """Writes both files, and the names of the classes, through tensorflow-datasets itself.

    It knows fewer places than Beam, and writes in several goes, so it does that in a
    temporary folder of this machine.
    """
    import tensorflow_datasets as tfds

    with tempfile.TemporaryDirectory() as waiting:
        # It looks for a shard, and takes nothing from it but the name.
        stand_in = Path(waiting, job.shard_name(0))
        stand_in.touch()
        split = tfds.core.SplitInfo(
            name=job.split,
            shard_lengths=[shard.records for shard in shards],
            num_bytes=sum(shard.size_bytes for shard in shards),
            filename_template=tfds.core.ShardedFileTemplate(
                dataset_name=job.name,
                data_dir=waiting,
                split=job.split,
                filetype_suffix="tfrecord",
            ),
        )
        tfds.folder_dataset.write_metadata(
            data_dir=waiting,
            features=tfds.features.FeaturesDict(_features(job)),
            split_infos=[split],
            version="1.0.0",
            check_data=False,
            description=f"Tokens of {job.contract.vocab_size} codes, "
            f"{job.contract.grid[0]} x {job.contract.grid[1]} per image, row by row.",
        )
        if job.array_record:
            info = tfds.builder_from_directory(waiting).info
            info.add_alternative_file_format("array_record")
            info.write_to_directory(waiting)
            Path(waiting, "metadata.json").unlink()  # of a builder's own things; there are none
        stand_in.unlink()
        for path in sorted(Path(waiting).iterdir()):
            storage.write(storage.join(job.output, path.name), path.read_bytes())


def _features(job: Job) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    count = job.contract.tokens_per_image
    if job.token_format == "bytes":
        tokens = tfds.features.Tensor(
            shape=(count,),
            dtype=np.dtype(job.contract.dtype).type,
            encoding=tfds.features.Encoding.BYTES,
        )
    else:
        tokens = tfds.features.Tensor(shape=(count,), dtype=np.int64)
    features = {
        "tokens": tokens,
        "key": tfds.features.Text(),
        "view": tfds.features.Text(),
        "crop": tfds.features.Tensor(shape=(4,), dtype=np.int64),
        "flip": tfds.features.Scalar(dtype=np.bool_),
    }
    for carried in job.features:
        match carried.kind:
            case _ if carried.class_names:
                features[carried.name] = tfds.features.ClassLabel(names=list(carried.class_names))
            case "bytes":
                features[carried.name] = tfds.features.Text()
            case kind:
                features[carried.name] = tfds.features.Scalar(dtype=np.dtype(kind).type)
    return features
