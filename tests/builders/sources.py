"""Datasets in every input format, made of the same images.

A new source adds one entry to SOURCES; the contracts of test_sources.py and
test_image_cases.py are then tested for it too.
"""

import csv
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from fsq.dataset.formats.tfrecord import read_records
from pipeline.sources import SourceConfig
from pipeline.sources.array_record import ArrayRecordConfig
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.manifest import ManifestConfig
from pipeline.sources.parquet import ParquetConfig
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.webdataset import WebdatasetConfig

Images = dict[str, bytes]  # by name: 'class/file.png', which may hold any byte but NUL


@dataclasses.dataclass(frozen=True)
class SourceBuilder:
    """One input format.

    Attributes:
      build: Writes the images into a folder that is its own; the label is the
        number of the class, counted in the order of their names.
      keys: The keys that the images get, in the order of the names given.
      keeps_names: Keys are the names of the images.
    """

    build: Callable[[Path, Images], SourceConfig]
    keys: Callable[[list[str]], list[str]] = list
    keeps_names: bool = True


def class_of(name: str) -> str:
    return name.rpartition("/")[0]


def classes_of(images: Images) -> list[str]:
    return sorted({class_of(name) for name in images})


def build_image_folder(folder: Path, images: Images) -> ImageFolderConfig:
    for name, data in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return ImageFolderConfig(kind="image_folder", directory=str(folder))


def write_images(folder: Path, images: Images, *, shards: int, name: str) -> list[tuple[str, int]]:
    """Writes TFRecord files with TensorFlow's own writer; returns their names and counts."""
    import tensorflow as tf  # here, because every test run loads this file

    folder.mkdir(parents=True, exist_ok=True)
    names, classes = list(images), classes_of(images)
    size = math.ceil(len(names) / shards)
    written = []
    for shard in range(shards):
        part = names[shard * size : (shard + 1) * size]
        with tf.io.TFRecordWriter(str(folder / name.format(shard))) as writer:
            for image in part:
                example = tf.train.Example()
                feature = example.features.feature
                encoded_name = image.encode("utf-8", "surrogateescape")
                feature["image/encoded"].bytes_list.value.append(images[image])
                feature["image/name"].bytes_list.value.append(encoded_name)
                feature["image/label"].int64_list.value.append(classes.index(class_of(image)))
                writer.write(example.SerializeToString())
        written.append((name.format(shard), len(part)))
    return written


PARQUET_FILES = 3


def build_parquet(folder: Path, images: Images) -> ParquetConfig:
    """Writes Parquet with the `datasets` library, as a push to the hub does."""
    import datasets  # here, because every test run loads this file

    names, classes = list(images), classes_of(images)
    features = datasets.Features(
        {
            "name": datasets.Value("binary"),
            "image": datasets.Image(decode=False),
            "label": datasets.ClassLabel(names=classes),
        }
    )
    rows = [
        {
            "name": name.encode("utf-8", "surrogateescape"),
            "image": {"bytes": images[name], "path": "image.png"},
            "label": classes.index(class_of(name)),
        }
        for name in names
    ]
    folder.mkdir(parents=True, exist_ok=True)
    size = math.ceil(len(rows) / PARQUET_FILES)
    for number in range(PARQUET_FILES):
        part = rows[number * size : (number + 1) * size]
        table = datasets.Dataset.from_list(part, features=features)
        path = folder / f"train-{number:05d}-of-{PARQUET_FILES:05d}.parquet"
        table.to_parquet(path, batch_size=4)
    return ParquetConfig(
        kind="parquet",
        files=f"{folder}/train-*.parquet",
        key="name",
        carry={"label": "label"},
    )


def build_webdataset(folder: Path, images: Images) -> WebdatasetConfig:
    """Writes tars with the `webdataset` library."""
    import webdataset  # here, because every test run loads this file

    names, classes = list(images), classes_of(images)
    folder.mkdir(parents=True, exist_ok=True)
    size = math.ceil(len(names) / 2)
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"train-{shard:05d}.tar"), encoder=True) as tar:
            for number, name in enumerate(names[shard * size : (shard + 1) * size]):
                label = classes.index(class_of(name))
                key = f"{class_of(name)}/{shard * size + number:05d}"
                tar.write({"__key__": key, "cls": label, "png": images[name]})
    return WebdatasetConfig(
        kind="webdataset", files=f"{folder}/train-{{00000..00001}}.tar", carry={"label": "cls"}
    )


def webdataset_keys(names: list[str]) -> list[str]:
    return [f"{class_of(name)}/{number:05d}" for number, name in enumerate(names)]


def build_tfrecord(folder: Path, images: Images) -> TfrecordConfig:
    write_images(folder, images, shards=3, name="images-{:05d}.tfrecord")
    return TfrecordConfig(
        kind="tfrecord",
        files=f"{folder}/images-*.tfrecord",
        image="image/encoded",
        key="image/name",
        carry={"label": "image/label"},
    )


TFDS_SHARDS = 2
TFDS_FILE = "pets-train.tfrecord-{:05d}-of-00002"


def build_array_record(folder: Path, images: Images) -> ArrayRecordConfig:
    """Writes ArrayRecord files with the library's own writer, in groups of several records."""
    from array_record.python.array_record_module import ArrayRecordWriter

    write_images(folder, images, shards=2, name="images-{:05d}.tfrecord")
    for path in sorted(folder.glob("*.tfrecord")):
        writer = ArrayRecordWriter(str(path.with_suffix(".arrayrecord")), "group_size:4")
        with path.open("rb") as file:
            for data in read_records(file, str(path)):
                writer.write(data)
        writer.close()
        path.unlink()
    return ArrayRecordConfig(
        kind="array_record",
        files=f"{folder}/images-*.arrayrecord",
        image="image/encoded",
        key="image/name",
        carry={"label": "image/label"},
    )


def build_tfds_directory(folder: Path, images: Images) -> TfdsConfig:
    import tensorflow_datasets as tfds

    filenames = write_images(folder, images, shards=TFDS_SHARDS, name=TFDS_FILE)
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "image/encoded": tfds.features.Image(shape=(None, None, 3)),
                "image/label": tfds.features.ClassLabel(names=classes_of(images)),
            }
        ),
        split_infos=[
            tfds.core.SplitInfo(
                name="train",
                shard_lengths=[count for _, count in filenames],
                num_bytes=0,
                filename_template=tfds.core.ShardedFileTemplate(
                    dataset_name="pets", data_dir=folder, split="train", filetype_suffix="tfrecord"
                ),
            )
        ],
        version="1.0.0",
        check_data=False,
    )
    return TfdsConfig(
        kind="tfds",
        directory=str(folder),
        split="train",
        image="image/encoded",
        carry=("image/label",),
    )


def tfds_keys(names: list[str]) -> list[str]:
    size = math.ceil(len(names) / TFDS_SHARDS)
    return [f"{TFDS_FILE.format(n // size)}__{n % size}" for n in range(len(names))]


def build_manifest(folder: Path, images: Images) -> ManifestConfig:
    import pandas as pd

    build_image_folder(folder, images)
    table = pd.DataFrame({"file_name": list(images), "class": list(map(class_of, images))})
    # pandas leaves a carriage return without quotes, which ends the row.
    table.to_csv(
        folder / "images.csv", index=False, errors="surrogateescape", quoting=csv.QUOTE_ALL
    )
    return ManifestConfig(kind="manifest", file=f"{folder}/images.csv", labels="class")


SOURCES = {
    "image_folder": SourceBuilder(build_image_folder),
    "manifest": SourceBuilder(build_manifest),
    "tfrecord": SourceBuilder(build_tfrecord),
    "array_record": SourceBuilder(build_array_record),
    "parquet": SourceBuilder(build_parquet),
    "webdataset": SourceBuilder(build_webdataset, webdataset_keys, keeps_names=False),
    "tfds_directory": SourceBuilder(build_tfds_directory, tfds_keys, keeps_names=False),
}
