"""Measures training from stored tokens against training with images tokenized on the fly.

    python -m examples.prior.online examples/prior/configs/fashion_mnist.yaml

runs the training step of a config for some seconds at a time on tokens that are
- read from the shards of its dataset, as `train` does;
- encoded on the fly from decoded images in memory;
- decoded and encoded on the fly from encoded images in memory.
The tokenizer uses the fastest runtime on this machine. Each batch is made while the step
before runs. The three take turns, in reverse order in every second round; printed are
medians and their ratios. Nothing is saved.
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from examples.prior.command import run
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData
from fsq.terminal.console import PATH, print_pairs, quiet_start
from fsq.yaml_config import load_config

SHARDS, PIXELS, BYTES = "from shards", "encoded on the fly", "decoded and encoded on the fly"
IMAGES = 4096  # source images kept in memory
Batches = Iterator[np.ndarray]


@click.command("online")
@click.argument("config", type=PATH)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--json", "json_file", type=PATH, metavar="F.json", help="Also write the figures here."
)
def main(config: str, seconds: float, rounds: int, json_file: str | None) -> None:
    """Compare training on stored tokens with encoding the images of CONFIG on the fly."""
    found = compare(load_config(config, PriorConfig), seconds=seconds, rounds=rounds)
    print_pairs([(name, str(value)) for name, value in found.items()])
    if json_file is not None:
        Path(json_file).write_text(json.dumps(found, indent=2) + "\n")


def compare(config: PriorConfig, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Measures training images per second with each kind of batch, and their ratios."""
    data = PriorData(config)
    with quiet_start():
        import tensorflow as _  # noqa: F401
    from examples.prior.saved import build_prior
    from examples.prior.step import TrainStep
    from fsq.tokenizer import Tokenizer
    from fsq.training.devices import devices_of_training

    batch_size = config.training.batch_size
    tokenizer = Tokenizer.load(config.dataset, batch_size=batch_size)
    with devices_of_training():
        runtime, _agreement = tokenizer.choose_runtime()
        makers = {
            SHARDS: lambda: (batch.tokens for batch in data.training_batches(0)),
            **_online(config, data, tokenizer),
        }
        step = TrainStep(build_prior(config, data.vocabulary), config.training)
        rates: dict[str, list[float]] = {name: [] for name in makers}
        for number in range(-1, rounds):  # the first round is not counted
            order = list(makers) if number % 2 else list(reversed(makers))
            for name in order:
                rate = _measure(makers[name](), config, data, step, seconds)
                if number >= 0:
                    rates[name].append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    figures: dict[str, Any] = {
        f"images/s, {name}": round(median, 1) for name, median in medians.items()
    }
    for name in (PIXELS, BYTES):
        figures[f"shards over {name}"] = round(medians[SHARDS] / medians[name], 2)
    return {**figures, "runtime": runtime, "batch_size": batch_size, "rounds": rounds}


def _online(
    config: PriorConfig, data: PriorData, tokenizer: Any
) -> dict[str, Callable[[], Batches]]:
    """Returns the functions that make batches without shards."""
    from examples.prior.images import fit_record, read_config, read_records

    contract, size = tokenizer.contract, config.training.batch_size
    made_by = read_config(config.dataset)
    found = read_records(config.dataset, made_by)
    records = list(itertools.islice(found, max(IMAGES, size)))
    pixels = np.stack([fit_record(record, contract, made_by.decode) for record in records])
    random = np.random.default_rng(config.training.seed)

    def encode(images: np.ndarray) -> np.ndarray:
        tokens = tokenizer.encode(images).reshape(len(images), -1)
        # Labels would cost nothing in either case.
        front = np.full((len(images), 1), data.vocabulary.no_class)
        return np.concatenate([front, tokens], axis=1).astype(np.int32)

    def from_pixels() -> np.ndarray:
        return encode(pixels[random.integers(0, len(records), size)])

    def from_bytes() -> np.ndarray:
        chosen = (records[number] for number in random.integers(0, len(records), size))
        return encode(np.stack([fit_record(r, contract, made_by.decode) for r in chosen]))

    return {PIXELS: lambda: _ahead(from_pixels), BYTES: lambda: _ahead(from_bytes)}


def _ahead(make: Callable[[], np.ndarray]) -> Batches:
    """Yields batches without end; each is made while the one before is in use."""
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(make)
        while True:
            batch, waiting = waiting.result(), executor.submit(make)
            yield batch


def _measure(
    batches: Batches, config: PriorConfig, data: PriorData, step: Any, seconds: float
) -> float:
    """Trains for some seconds; returns images per second."""
    from examples.prior.objectives import training_batch

    random = np.random.default_rng(0)
    began, count = 0.0, -1
    for tokens in batches:
        by_mode = {
            mode: training_batch(tokens, np.ones(len(tokens), bool), mode, data.vocabulary, random)
            for mode in config.modes
        }
        float(step(by_mode)["loss"])
        count += 1
        if count == 0:  # opening, first reads and tracing are not counted
            began = time.perf_counter()
        elif time.perf_counter() - began >= seconds:
            break
    return count * config.training.batch_size / (time.perf_counter() - began)


if __name__ == "__main__":
    run(main)
