"""The speed of reading token shards, against readers written by hand.

    python -m benchmarks.reading
    python -m benchmarks.reading --records 20000 --tokens 64 --rounds 7 --json out/reading.json

writes random tokens as `fsq tokenize` would, in both token formats, and reads all of them
shuffled, in batches of int32: with `token_dataset` and `TokenBatches`; with plain tf.data,
parsing single records, as most examples do, or whole batches; the same from an int64_list;
and by number from ArrayRecord files. The readers take turns in one process, because the
speed of a shared machine changes within a minute; every second round has the reverse order.
A ratio is `token_dataset` over the other within a round; the table shows medians. The files
are in the page cache.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from fsq.dataset import SequenceSpec, TokenBatches, TokenSource, token_dataset
from tools.random_tokens import TokenFormat, write_random_tokens

LEVELS = (8, 8, 8, 5, 5, 5)  # 64,000 codes
SHUFFLED = 16_384  # records in memory, as many as `token_dataset` has in a window
OURS = "ours: token_dataset"
FIRST = "import time; began = time.perf_counter(); from fsq.dataset import {name}; {first}; "


@dataclasses.dataclass(frozen=True)
class Data:
    """The same tokens in both token formats: directories and sizes."""

    as_bytes: Path
    as_integers: Path
    records: int
    tokens: int
    batch_size: int


def files(directory: Path) -> list[str]:
    """Returns the TFRecord files of a dataset, in order."""
    return sorted(map(str, directory.glob("*.tfrecord-*")))


def ours(data: Data, directory: Path) -> Iterable[Any]:
    """Reads with `token_dataset`."""
    dataset = token_dataset(
        str(directory), batch_size=data.batch_size, sequence=SequenceSpec(), shuffle_seed=1
    )
    return (batch["tokens"] for batch in dataset)


def without_tensorflow(data: Data) -> Iterable[Any]:
    """Reads with `TokenBatches`."""
    batches = TokenBatches(
        str(data.as_bytes), batch_size=data.batch_size, sequence=SequenceSpec(), shuffle_seed=1
    )
    return (batch["tokens"] for batch in batches)


def by_number(data: Data) -> Iterable[Any]:
    """Reads with `TokenSource`, records by number in a random order."""
    source = TokenSource(str(data.as_bytes), sequence=SequenceSpec())
    order = np.random.default_rng(1).permutation(len(source)).tolist()
    for first in range(0, len(order), data.batch_size):
        records = source.__getitems__(order[first : first + data.batch_size])
        yield np.stack([record["tokens"] for record in records])


def plain(data: Data, token_format: TokenFormat, *, whole_batches: bool) -> Iterable[Any]:
    """Reads with TensorFlow alone."""
    if token_format == "bytes":
        directory, feature = data.as_bytes, tf.io.FixedLenFeature([], tf.string)
    else:
        directory, feature = data.as_integers, tf.io.FixedLenFeature([data.tokens], tf.int64)
    parse_example = tf.io.parse_example if whole_batches else tf.io.parse_single_example

    def parse(example: Any) -> Any:
        tokens = parse_example(example, {"tokens": feature})["tokens"]
        if token_format == "bytes":
            tokens = tf.io.decode_raw(tokens, tf.uint16)
        return tf.cast(tokens, tf.int32)

    dataset = tf.data.TFRecordDataset(files(directory)).shuffle(SHUFFLED, seed=1)
    if whole_batches:
        dataset = dataset.batch(data.batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE).batch(data.batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE)


READERS: dict[str, Callable[[Data], Iterable[Any]]] = {
    OURS: lambda data: ours(data, data.as_bytes),
    "ours: token_dataset, int64_list": lambda data: ours(data, data.as_integers),
    "ours: TokenBatches, no TensorFlow": without_tensorflow,
    "ours: TokenSource, as a loader reads it": by_number,
    "plain: parse_single_example": lambda data: plain(data, "bytes", whole_batches=False),
    "plain: parse_example of batches": lambda data: plain(data, "bytes", whole_batches=True),
    "plain: parse_single_example, int64_list": lambda data: plain(
        data, "int64_list", whole_batches=False
    ),
    "plain: parse_example of batches, int64_list": lambda data: plain(
        data, "int64_list", whole_batches=True
    ),
}


def records_per_second(reader: Callable[[Data], Iterable[Any]], data: Data) -> float:
    """Reads everything once, opening the directory included.

    Raises:
      ValueError: The reader did not return all records.
    """
    began = time.perf_counter()
    count = sum(batch.shape[0] for batch in reader(data))
    seconds = time.perf_counter() - began
    if count != data.records:
        raise ValueError(f"expected {data.records:,} records, got {count:,}")
    return data.records / seconds


def summarize(rounds: list[dict[str, float]], tokens: int) -> dict[str, dict[str, Any]]:
    """Returns for each reader the medians of records/s, tokens/s and the speed-up of ours."""
    return {
        name: {
            "records_per_second": (speed := statistics.median(each[name] for each in rounds)),
            "tokens_per_second": speed * tokens,
            "ours_over": statistics.median(each[OURS] / each[name] for each in rounds),
            "rounds": [each[name] for each in rounds],
        }
        for name in rounds[0]
    }


def seconds_to_first(name: str, first: str) -> float:
    """Starts a Python process; returns the seconds from the import to the first record."""
    code = FIRST.format(name=name, first=first) + "print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_starts(directory: Path, rounds: int) -> dict[str, float]:
    """Returns the median seconds from import to first record of readers without TensorFlow."""
    starts = {
        "TokenSource": f"TokenSource({str(directory)!r})[0]",
        "TokenBatches": f"TokenBatches({str(directory)!r}, batch_size=64, shuffle_seed=1)[0]",
    }
    return {
        name: statistics.median(seconds_to_first(name, first) for _ in range(rounds))
        for name, first in starts.items()
    }


def readers_table(found: dict[str, dict[str, Any]]) -> Table:
    """Makes a table of the readers and their speeds."""
    table = Table("shuffled, as int32")
    for column in ("records/s", "million tokens/s", "speed-up of token_dataset"):
        table.add_column(column, justify="right")
    for name, entry in found.items():
        table.add_row(
            name,
            f"{entry['records_per_second']:,.0f}",
            f"{entry['tokens_per_second'] / 1e6:.1f}",
            f"{entry['ours_over']:.2f}",
        )
    return table


@click.command(help=__doc__)
@click.option("--records", default=100_000, show_default=True)
@click.option("--tokens", default=256, show_default=True, help="Per record; a square number.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(records: int, tokens: int, batch_size: int, rounds: int, json_path: Path | None) -> None:
    """Writes the data, measures the readers in turns and prints the tables."""
    side = round(tokens**0.5)
    if side * side != tokens:
        raise click.BadParameter(f"expected a square number, got {tokens}.", param_hint="--tokens")
    console, progress = Console(width=120), Console(stderr=True)
    machine = describe_machine()
    console.print_json(data=machine)
    measured: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="reading") as scratch:
        data = Data(Path(scratch, "bytes"), Path(scratch, "integers"), records, tokens, batch_size)
        sizes: dict[str, Any] = {"images": records, "side": side, "levels": LEVELS, "num_shards": 8}
        write_random_tokens(data.as_bytes, array_record=True, **sizes)
        write_random_tokens(data.as_integers, token_format="int64_list", **sizes)
        starts = measure_starts(data.as_bytes, rounds)
        for number in range(rounds):
            progress.print(f"round {number + 1}")
            names = list(READERS)[:: -1 if number % 2 else 1]
            speeds = {name: records_per_second(READERS[name], data) for name in names}
            measured.append({name: speeds[name] for name in READERS})
    found = summarize(measured, tokens)
    console.print(readers_table(found))
    for name, seconds in starts.items():
        console.print(f"{name}: {seconds:.2f} s from import to the first record")
    if json_path:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": machine,
            "records": records,
            "tokens": tokens,
            "batch_size": batch_size,
            "seconds_to_first": starts,
            "readers": found,
        }
        json_path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
