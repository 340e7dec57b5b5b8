"""The same images through every source: python -m benchmarks.sources

Writes the images of a folder as Parquet, tars, TFRecord, ArrayRecord, an array of pixels and a
CSV file with their paths, each by the writers' own tools; tokenizes each with one tokenizer;
checks that an image has the same tokens in all; and prints the cost of each beside the folder's.
Times are those of whole jobs, with their start; a job before them has chosen the runtime.
"""

import dataclasses
import io
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from PIL import Image

from benchmarks.contenders import ENVIRONMENT
from benchmarks.measured import Cost, run_measured
from benchmarks.workloads import CACHE, ROOT
from fsq.dataset import TokenSource
from fsq.validation import parse
from pipeline.job.config import TokenizeConfig

TOKENIZER = ROOT / "tokenizers/cifar10"
FILES = 4


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image.

    Attributes:
      name: Its path in the folder, '<class>/<number>.jpg'; the number is that of the image.
      data: The bytes of its file.
      label: The number of its class, in the order of their names.
    """

    name: str
    data: bytes
    label: int


Samples = Sequence[Sample]


def read_samples(folder: Path, count: int) -> list[Sample]:
    """Reads images of a folder of classes, evenly over it, and numbers them."""
    paths = sorted(folder.glob("*/*"))
    if len(paths) < count:
        raise click.UsageError(f"{folder}: expected {count:,} images, found {len(paths):,}.")
    classes = sorted({path.parent.name for path in paths})
    chosen = (paths[number * len(paths) // count] for number in range(count))
    return [
        Sample(
            f"{path.parent.name}/{number:06d}{path.suffix}",
            path.read_bytes(),
            classes.index(path.parent.name),
        )
        for number, path in enumerate(chosen)
    ]


def write_folder(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes a file per image."""
    for sample in samples:
        path = folder / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.data)
    return {"kind": "image_folder", "directory": str(folder), "labels": True}


def write_manifest(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes a file per image, and a CSV file with their paths, with pandas."""
    import pandas as pd

    write_folder(samples, folder)
    table = pd.DataFrame(
        {"file_name": [one.name for one in samples], "label": [one.label for one in samples]}
    )
    table.to_csv(folder / "images.csv", index=False)
    return {"kind": "manifest", "file": f"{folder}/images.csv", "carry": {"label": "label"}}


def write_parquet(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes Parquet with `datasets`."""
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "name": datasets.Value("string"),
            "label": datasets.Value("int64"),
        }
    )
    for number, part in enumerate(_split(samples)):
        rows = [
            {"image": {"bytes": one.data, "path": None}, "name": one.name, "label": one.label}
            for one in part
        ]
        path = folder / f"train-{number:05d}-of-{FILES:05d}.parquet"
        datasets.Dataset.from_list(rows, features=features).to_parquet(path)
    carry = {"label": "label"}
    return {"kind": "parquet", "files": f"{folder}/*.parquet", "key": "name", "carry": carry}


def write_tars(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes tars with `webdataset`."""
    import webdataset

    for number, part in enumerate(_split(samples)):
        with webdataset.TarWriter(str(folder / f"train-{number:05d}.tar")) as tar:
            for one in part:
                key = one.name.rpartition(".")[0]
                tar.write({"__key__": key, "jpg": one.data, "cls": one.label})
    return {"kind": "webdataset", "files": f"{folder}/*.tar", "carry": {"label": "cls"}}


def write_tfrecord(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes TFRecord files with TensorFlow."""
    import tensorflow as tf

    for number, part in enumerate(_split(samples)):
        with tf.io.TFRecordWriter(str(folder / f"images-{number:05d}.tfrecord")) as writer:
            for one in part:
                writer.write(_example(one))
    return {"kind": "tfrecord", "files": f"{folder}/*.tfrecord", **EXAMPLE_FIELDS}


def write_array_record(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes ArrayRecord files with the library's writer."""
    from array_record.python.array_record_module import ArrayRecordWriter

    for number, part in enumerate(_split(samples)):
        writer = ArrayRecordWriter(
            str(folder / f"images-{number:05d}.array_record"), "group_size:1"
        )
        for one in part:
            writer.write(_example(one))
        writer.close()
    return {"kind": "array_record", "files": f"{folder}/*.array_record", **EXAMPLE_FIELDS}


def write_npy(samples: Samples, folder: Path) -> dict[str, Any]:
    """Writes the pixels, as Pillow decodes them, and the labels with NumPy."""
    pixels = [np.asarray(Image.open(io.BytesIO(one.data)).convert("RGB")) for one in samples]
    np.save(folder / "images.npy", np.stack(pixels))
    np.save(folder / "labels.npy", np.array([one.label for one in samples]))
    return {"kind": "npy", "files": f"{folder}/images.npy", "carry": {"label": "labels.npy"}}


EXAMPLE_FIELDS = {"image": "image/encoded", "key": "name", "carry": {"label": "label"}}
WRITERS: dict[str, Callable[[Samples, Path], dict[str, Any]]] = {
    "image_folder": write_folder,
    "manifest": write_manifest,
    "parquet": write_parquet,
    "webdataset": write_tars,
    "tfrecord": write_tfrecord,
    "array_record": write_array_record,
    "npy": write_npy,
}


def _split(samples: Samples) -> list[Samples]:
    size = -(-len(samples) // FILES)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _example(sample: Sample) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    feature = example.features.feature
    feature["image/encoded"].bytes_list.value.append(sample.data)
    feature["name"].bytes_list.value.append(sample.name.encode())
    feature["label"].int64_list.value.append(sample.label)
    serialized: bytes = example.SerializeToString()
    return serialized


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a source costs, and what came out.

    Attributes:
      listing_seconds: Wall time to list it.
      cost: Cost of the whole job.
      tokens: Tokens [N, T] in the order of the numbers of the images.
      labels: Labels [N] in the same order.
    """

    listing_seconds: float
    cost: Cost
    tokens: np.ndarray
    labels: np.ndarray


def measure(source: dict[str, Any], folder: Path) -> Measured:
    """Tokenizes a source in a process of its own."""
    fields = {
        "source": source,
        "tokenizer": str(TOKENIZER),
        "output": {
            "directory": str(folder / "out"),
            "name": "tokens",
            "formats": ["tfrecord", "array_record"],
        },
    }
    config = parse(TokenizeConfig, fields, "job.yaml")
    opened = config.source.open()
    began = time.perf_counter()
    opened.list(stride=256)
    listing_seconds = time.perf_counter() - began
    (folder / "job.yaml").write_text(yaml.safe_dump(fields))
    cost = run_measured(
        [sys.executable, "-m", "pipeline.cli", "tokenize", str(folder / "job.yaml")],
        cwd=ROOT,
        environment={**ENVIRONMENT, "FSQ_CACHE": str(CACHE / "kept")},
        log=folder / "log",
        timeout_seconds=3600,
    )
    return Measured(listing_seconds, cost, *read_tokens(folder / "out"))


def read_tokens(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns tokens [N, T] and labels [N] of a dataset, by the last number in their keys."""
    dataset = TokenSource(str(directory))
    records = dataset.__getitems__(range(len(dataset)))
    records.sort(key=lambda record: number_of(record["key"]))
    return (
        np.stack([record["tokens"] for record in records]),
        np.array([record["label"] for record in records]),
    )


def number_of(key: str | bytes) -> int:
    """Returns the number of the image.

    >>> number_of("cat/000012.jpg"), number_of("images.npy__12")
    (12, 12)
    """
    text = key.decode() if isinstance(key, bytes) else key
    return int(re.findall(r"\d+", text)[-1])


def row(kind: str, one: Measured, folder: Measured) -> str:
    """Returns a line of the table."""
    count = len(one.tokens)
    return (
        f"| `{kind}` | {one.listing_seconds:.2f} | {count / one.cost.seconds:,.0f} "
        f"| {folder.cost.seconds / one.cost.seconds:.2f} "
        f"| {folder.cost.cpu_seconds / one.cost.cpu_seconds:.2f} | {one.cost.peak_mb:,.0f} |"
    )


@click.command(help=__doc__)
@click.option("--images", type=Path, default=ROOT / "data/cifar10_jpeg/train", show_default=True)
@click.option("--count", default=50_000, show_default=True, help="Number of images.")
@click.option("--kinds", default=",".join(WRITERS), show_default=True, help="Sources to measure.")
def main(images: Path, count: int, kinds: str) -> None:
    """Measures the sources, and prints the table."""
    samples = read_samples(images, count)
    CACHE.mkdir(parents=True, exist_ok=True)
    print("| source | listing, s | images/s | speed beside the folder | per CPU second | peak MB |")
    print("|---|---|---|---|---|---|")
    # The first job only chooses the runtime, which is then cached.
    _write_and_measure("image_folder", samples)
    folder: Measured | None = None
    for kind in dict.fromkeys(["image_folder", *kinds.split(",")]):
        measured = _write_and_measure(kind, samples)
        folder = folder or measured
        for name in ("tokens", "labels"):
            if not np.array_equal(getattr(measured, name), getattr(folder, name)):
                raise click.ClickException(f"{kind}: expected the folder's {name}, got others.")
        print(row(kind, measured, folder), flush=True)


def _write_and_measure(kind: str, samples: Samples) -> Measured:
    with tempfile.TemporaryDirectory(prefix="sources", dir=CACHE) as scratch:
        written = Path(scratch) / "in"
        written.mkdir()
        return measure(WRITERS[kind](samples, written), Path(scratch))


if __name__ == "__main__":
    main()
