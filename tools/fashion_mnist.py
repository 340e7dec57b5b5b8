"""Prepares Fashion-MNIST in the layout of tensorflow-datasets.

    python -m tools.fashion_mnist data

uses the files of Debian's package `dataset-fashion-mnist` if it is installed
(`apt-get install dataset-fashion-mnist`), and downloads through tensorflow-datasets
otherwise. `--sample` makes the two small copies in the repository: `samples/`, and
one with two corrupted records for the tests.

Fashion-MNIST: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import io
from pathlib import Path

import click
import numpy as np
from PIL import Image

from fsq.dataset.formats.tfrecord import frame
from fsq.storage import filesystem

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VERSION = "3.0.1"  # of the tensorflow-datasets builder with these features
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SPOILT = {123: "cut off after 200 bytes", 1500: "an HTML page instead of an image"}


def read_idx(prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads images uint8 [N, 28, 28] and labels uint8 [N] from gzipped IDX files."""
    images = gzip.decompress((DEBIAN / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DEBIAN / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8),
    )


def encode_png(image: np.ndarray) -> bytes:
    """Encodes pixels as PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()


def write_dataset(folder: Path, splits: dict[str, tuple[list[bytes], np.ndarray]]) -> None:
    """Writes splits of (encoded images, labels) with their metadata."""
    import tensorflow_datasets as tfds
    from tensorflow.core.example import example_pb2

    infos = []
    for split, (images, labels) in splits.items():
        name = f"fashion_mnist-{split}.tfrecord-00000-of-00001"
        frames = []
        for data, label in zip(images, labels, strict=True):
            example = example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(data)
            example.features.feature["label"].int64_list.value.append(int(label))
            frames.append(frame(example.SerializeToString(deterministic=True)))
        filesystem.make_folder(str(folder))
        filesystem.write(str(folder / name), b"".join(frames))
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(frames)],
                num_bytes=sum(map(len, frames)),
                filename_template=tfds.core.ShardedFileTemplate(
                    dataset_name="fashion_mnist",
                    data_dir=folder,
                    split=split,
                    filetype_suffix="tfrecord",
                ),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=list(CLASSES)),
            }
        ),
        split_infos=infos,
        version=VERSION,
        check_data=False,
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        license="MIT",
    )


def spoil(number: int, data: bytes) -> bytes:
    """Corrupts an image on purpose, as SPOILT says."""
    return data[:200] if number == 123 else b"<html><body>404 Not Found</body></html>"


@click.command(help=__doc__)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--sample", is_flag=True, help="Make the small copies, below DIRECTORY.")
def main(directory: Path, sample: bool) -> None:
    """Prepares the dataset, or its small copies."""
    if not DEBIAN.is_dir():
        if sample:
            raise click.ClickException("apt-get install dataset-fashion-mnist")
        import tensorflow_datasets as tfds

        tfds.builder("fashion_mnist", data_dir=directory).download_and_prepare()
        return
    test, test_labels = read_idx("t10k")
    if sample:
        images = [encode_png(image) for image in test[:2000]]
        labels = test_labels[:2000]
        write_dataset(directory / "samples" / "fashion_mnist", {"test": (images, labels)})
        spoilt = [spoil(i, data) if i in SPOILT else data for i, data in enumerate(images)]
        write_dataset(
            directory / "tests" / "data" / "fashion_mnist_spoilt", {"test": (spoilt, labels)}
        )
        return
    train, train_labels = read_idx("train")
    write_dataset(
        directory / "fashion_mnist" / VERSION,
        {
            "train": ([encode_png(image) for image in train], train_labels),
            "test": ([encode_png(image) for image in test], test_labels),
        },
    )


if __name__ == "__main__":
    main()
