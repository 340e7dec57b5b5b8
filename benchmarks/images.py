"""The speed of `image_dataset`, against a plain tf.data pipeline and a PyTorch DataLoader.

    python -m benchmarks.images photos 256 cifar 32 --torch-python out/torch/bin/python

reads the JPEGs of folders, each followed by the size that its images are fitted to, shuffled, in
batches of uint8. The loaders take turns; every second round has the reverse order, and each reads
an epoch before the one that is measured. A ratio is `image_dataset` over the other within a round;
the table shows medians. Beside other jobs, whoever has more threads gets more of the machine: then
the time of processors for each image tells more. The files are in the page cache. PyTorch runs in
an environment of its own, with torch, Pillow and NumPy, and is left out where `--torch-python` has
no torch.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from fsq.cores import count_cores
from pipeline.image_dataset import image_dataset, open_images
from pipeline.loading.open_images import OpenedImages

TORCH = Path(__file__).parent / "peers" / "torch_images.py"
OURS = "ours: image_dataset"


class Data(NamedTuple):
    """A folder of JPEGs.

    Attributes:
      folder: The folder.
      size: Side of the fitted images, in pixels.
      batch_size: Images per batch.
      torch_python: The Python that has torch.
      images: The listed images.
    """

    folder: Path
    size: int
    batch_size: int
    torch_python: str
    images: OpenedImages

    @classmethod
    def of(cls, folder: Path, size: int, batch_size: int, torch_python: str) -> "Data":
        """Lists a folder."""
        source = {"kind": "image_folder", "directory": str(folder), "labels": False}
        image = {"size_pixels": size, "channels": 3}
        return cls(
            folder, size, batch_size, torch_python, open_images({"source": source, "image": image})
        )


class Speed(NamedTuple):
    """Images per second, and microseconds of processors for each image."""

    images_per_second: float
    cpu_microseconds: float


def ours(data: Data, epoch: int) -> Any:
    """Reads with `image_dataset`."""
    dataset = image_dataset(data.images, batch_size=data.batch_size, shuffle_seed=1, epoch=epoch)
    return dataset.map(lambda batch: batch["image"])


def plain(data: Data, epoch: int) -> Any:
    """Reads with TensorFlow's own operations; its resampling is not Pillow's."""
    paths = sorted(map(str, data.folder.rglob("*.jpg")))

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
        if side != data.size:
            size = (data.size, data.size)
            resized = tf.image.resize(image, size, method="bicubic", antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
        return tf.ensure_shape(image, (data.size, data.size, 3))

    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=epoch)
    images = files.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(data.batch_size).prefetch(tf.data.AUTOTUNE)


def tf_speed(make: Callable[[Data, int], Any], data: Data) -> Speed:
    """Measures the second epoch.

    Raises:
      ValueError: Images are missing.
    """
    for epoch in range(2):
        began, used = time.perf_counter(), time.process_time()
        count = sum(batch.shape[0] for batch in make(data, epoch))
        seconds = time.perf_counter() - began
    if count != len(data.images):
        raise ValueError(f"expected {len(data.images):,} images, got {count:,}")
    return Speed(count / seconds, (time.process_time() - used) / count * 1e6)


def torch_speed(data: Data) -> Speed:
    """Measures a PyTorch DataLoader in a process of its own."""
    numbers = map(str, (data.size, data.batch_size, count_cores()))
    command = [data.torch_python, str(TORCH), str(data.folder), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Speed(*map(float, done.stdout.split()))


def has_torch(python: str) -> bool:
    """Returns whether a Python can import torch."""
    done = subprocess.run([python, "-c", "import torch"], capture_output=True)
    return done.returncode == 0


def loaders(torch_python: str) -> dict[str, Callable[[Data], Speed]]:
    """Returns the loaders by name, PyTorch's if it is installed."""
    found: dict[str, Callable[[Data], Speed]] = {
        OURS: lambda data: tf_speed(ours, data),
        "plain: TensorFlow's decode_jpeg and resize": lambda data: tf_speed(plain, data),
    }
    if has_torch(torch_python):
        found["PyTorch: DataLoader, Pillow"] = torch_speed
    return found


def measure(data: Data, torch_python: str, rounds: int) -> list[dict[str, Speed]]:
    """Returns the speed of each loader in each round."""
    found = loaders(torch_python)
    speeds = []
    for number in range(rounds):
        names = list(found)[:: -1 if number % 2 else 1]
        speeds.append({name: found[name](data) for name in names})
    return speeds


def table_of(title: str, rounds: list[dict[str, Speed]]) -> Table:
    """Makes a table of medians, of speeds and of ratios within a round."""
    table = Table(title, "images/s", "speed-up of image_dataset", "CPU us an image", "ratio of it")
    for name in sorted(rounds[0], key=lambda name: name != OURS):
        figures = []
        for number in range(len(Speed._fields)):
            median = statistics.median(each[name][number] for each in rounds)
            ratio = statistics.median(each[OURS][number] / each[name][number] for each in rounds)
            figures += [f"{median:,.0f}", f"{ratio:.2f}"]
        table.add_row(name, *figures)
    return table


@click.command(help=__doc__)
@click.argument("folders_and_sizes", nargs=-1, required=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--torch-python", default=sys.executable, help="A Python that has torch.")
def main(
    folders_and_sizes: tuple[str, ...], batch_size: int, rounds: int, torch_python: str
) -> None:
    """Measures the loaders in turns and prints a table for each folder."""
    console, progress = Console(width=120), Console(stderr=True)
    if not has_torch(torch_python):
        progress.print(f"PyTorch is left out: torch is not installed in {torch_python}")
    pairs = zip(folders_and_sizes[::2], folders_and_sizes[1::2], strict=True)
    for folder, size in pairs:
        data = Data.of(Path(folder), int(size), batch_size, torch_python)
        progress.print(f"{folder}: {len(data.images):,} images")
        console.print(table_of(f"{folder}, {size} px", measure(data, torch_python, rounds)))


if __name__ == "__main__":
    main()
