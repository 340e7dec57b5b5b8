"""The images of a workload on disk, in the format that each contender reads fastest.

Each image has a number, which is its key. All workloads have a folder of image files.
Small PNGs are also stored many to a file, because reading 60,000 small files one by one
is slow: as TFRecords for TensorFlow and Beam, as Parquet for Daft and Ray.
"""

import dataclasses
import importlib.util
import itertools
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.workloads import ARCHIVES, CACHE, ROOT, Workload

FILES = 8
FASHION_MNIST = "data/fashion_mnist/3.0.1/fashion_mnist-train.tfrecord-00000-of-00001"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The first images of a workload, in a directory.

    Attributes:
      directory: images/ holds a file per image, named by its number. tfrecord/ and
        parquet/, if present, hold the same bytes in `image` and the number in `key`.
    """

    directory: Path

    @property
    def images(self) -> Path:
        """The folder of image files."""
        return self.directory / "images"

    @property
    def tfrecords(self) -> list[Path]:
        """The TFRecord files; empty for workloads that are read from the folder."""
        return sorted(self.directory.glob("tfrecord/*"))

    @property
    def parquet(self) -> list[Path]:
        """The Parquet files; empty for workloads that are read from the folder."""
        return sorted(self.directory.glob("parquet/*"))

    @property
    def paths(self) -> list[Path]:
        """The image files, in the order of their numbers."""
        return sorted(self.images.iterdir())


def prepare(workload: Workload, count: int) -> Dataset:
    """Writes the first images of a workload, unless they are there.

    Raises:
      FileNotFoundError: The source is missing; the message says how to get it.
    """
    _prepare_tokenizer(workload)
    dataset = Dataset(CACHE / f"{workload.name}-{count}")
    ready = dataset.directory / "READY"
    if ready.exists():
        return dataset
    dataset.images.mkdir(parents=True, exist_ok=True)
    images = list(_photos(workload, count) if workload.archive else _fashion_mnist(count))
    if len(images) != count:
        raise ValueError(f"{workload.name}: expected {count} images, found {len(images)}.")
    suffix = "jpg" if workload.archive else "png"
    for number, data in enumerate(images):
        (dataset.images / f"{number:06d}.{suffix}").write_bytes(data)
    if not workload.archive:
        _write_tfrecords(dataset.directory / "tfrecord", images)
        if importlib.util.find_spec("pyarrow"):
            _write_parquet(dataset.directory / "parquet", images)
    ready.touch()
    return dataset


def _photos(workload: Workload, count: int) -> Iterator[bytes]:
    path = ARCHIVES / str(workload.archive)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected the images of workload {workload.name}, found nothing. "
            "Set BENCHMARK_ARCHIVES to the folder of the archive."
        )
    with tarfile.open(path) as archive:
        members = [m for m in archive if m.isfile() and m.name.endswith(".jpg")]
        members = sorted((m for m in members if m.name.startswith(workload.member)), key=_name)
        # Archives are sorted by class; shuffled, the first images are like the rest.
        random.Random(1).shuffle(members)
        photos = []
        for member in members[:count]:
            file = archive.extractfile(member)
            assert file is not None, member
            photos.append(file.read())
    # Workloads with more images than the archive repeat them.
    yield from itertools.islice(itertools.cycle(photos), count if photos else 0)


def _name(member: tarfile.TarInfo) -> str:
    return member.name


def _fashion_mnist(count: int) -> Iterator[bytes]:
    import tensorflow as tf

    path = ROOT / FASHION_MNIST
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected Fashion-MNIST, found nothing. Run: "
            "python -m tools.fashion_mnist data"
        )
    for data in tf.data.TFRecordDataset(str(path)).take(count):
        example = tf.train.Example.FromString(data.numpy())
        yield example.features.feature["image"].bytes_list.value[0]


def _slices(images: list[bytes]) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
    numbered = list(enumerate(images))
    size = -(-len(numbered) // FILES)
    for file in range(FILES):
        yield file, numbered[file * size : (file + 1) * size]


def _write_tfrecords(folder: Path, images: list[bytes]) -> None:
    import tensorflow as tf

    folder.mkdir(exist_ok=True)
    for file, numbered in _slices(images):
        with tf.io.TFRecordWriter(str(folder / f"images-{file:02d}.tfrecord")) as writer:
            for number, data in numbered:
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(data)
                example.features.feature["key"].bytes_list.value.append(f"{number:06d}".encode())
                writer.write(example.SerializeToString(deterministic=True))


def _write_parquet(folder: Path, images: list[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    for file, numbered in _slices(images):
        keys = [f"{number:06d}" for number, _ in numbered]
        table = pa.table({"key": keys, "image": [data for _, data in numbered]})
        pq.write_table(table, folder / f"images-{file:02d}.parquet")


def _prepare_tokenizer(workload: Workload) -> None:
    if workload.tokenizer.exists():
        return
    from fsq.models.autoencoder import build_autoencoder
    from fsq.tokenizer import Tokenizer

    Tokenizer.of(build_autoencoder(workload.spec, seed=1)).save(workload.tokenizer)
