"""How fast a job runs, beside the limit that decoding and encoding set.

    python -m benchmarks.throughput configs/tokenize/fashion_mnist_train.yaml

measures three things in one run, alternating, because a shared machine is not
the same machine a minute later:

- decode: the pixels of images in memory, one process per core, nothing else;
- encode: the tokens of batches in memory, all cores, nothing else;
- ours: the real `fsq tokenize`, from its start to its manifest, less a run over
  the first 2,000 images: what an image more costs once the job is running.

The first two share the cores, so the limit is 1 / (1 / decode + 1 / encode).
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from fsq.images import DecodeRules, ImageSpec
from pipeline.config import TokenizeConfig, load_config
from pipeline.decode import DecodedImage, decode_record
from pipeline.job import Job
from pipeline.plan import Plan, make_plan
from pipeline.records import ImageRecord
from pipeline.sources import open_source
from pipeline.sources.listing import materialize, one_unit_per_file

CORES = len(os.sched_getaffinity(0))
FEW = 2_000


def load_records(plan: Plan) -> list[ImageRecord]:
    """Reads all encoded images of a source into memory."""
    source = open_source(plan.job.source)
    with materialize(plan.listing) as listing:
        units = one_unit_per_file(listing)
        found = [record for unit in units for record in source.read(unit, plan.job.features)]
    return [record for record in found if isinstance(record, ImageRecord)]


def decode_seconds(pool: ProcessPoolExecutor, records: list[ImageRecord], spec: ImageSpec) -> float:
    """Returns the seconds in which all cores decode the records, without their transport."""
    slices = [records[i::CORES] for i in range(CORES)]
    return max(pool.map(_decode_all, slices, [spec] * CORES))


def _decode_all(records: list[ImageRecord], spec: ImageSpec) -> float:
    began = time.perf_counter()
    for record in records:
        assert isinstance(decode_record(record, spec, ("center",), DecodeRules()), DecodedImage)
    return time.perf_counter() - began


def encode_seconds(job: Job, tokenizer_directory: str, batches: list[np.ndarray]) -> float:
    """Returns the seconds in which all cores encode the batches."""
    tokenizer = _tokenizer(tokenizer_directory, job.batch_size)
    began = time.perf_counter()
    # As many calls at a time as there are cores: a small graph does not fill them by itself.
    with ThreadPoolExecutor(CORES) as threads:
        list(threads.map(tokenizer.encode_batch, batches))
    return time.perf_counter() - began


_loaded = {}


def _tokenizer(directory: str, batch_size: int):
    from fsq.tokenizer import Tokenizer

    if directory not in _loaded:
        _loaded[directory] = Tokenizer.load(directory, batch_size=batch_size)
        shape = (batch_size, *_loaded[directory].contract.image.shape)
        _loaded[directory].encode_batch(np.zeros(shape, np.uint8))  # traces the graph
    return _loaded[directory]


def job_seconds(config: str, output: str, limit: int | None = None) -> float:
    """Runs the real command in a process of its own and returns the seconds it takes."""
    command = [sys.executable, "-m", "pipeline.cli", "tokenize", config, "--output", output]
    command += ["--limit", str(limit)] if limit else []
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def rounds(config_path: str, repeats: int) -> Iterator[dict[str, float]]:
    """Yields images/s of decode, encode and ours, once per round."""
    config = load_config(config_path, TokenizeConfig)
    plan = make_plan(config)
    records = load_records(plan)
    spec = plan.job.contract.image
    # Forked before TensorFlow starts its threads.
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("fork")) as pool:
        list(pool.map(_decode_all, [records[:CORES]] * CORES, [spec] * CORES))
        batches = _batches(records, spec, plan.job.batch_size)
        images = len(batches) * plan.job.batch_size
        encode_seconds(plan.job, config.tokenizer, batches[:8])
        for _ in range(repeats):
            decode = len(records) / decode_seconds(pool, records, spec)
            encode = images / encode_seconds(plan.job, config.tokenizer, batches)
            with tempfile.TemporaryDirectory() as folder:
                start = job_seconds(config_path, f"{folder}/few", limit=FEW)
                whole = job_seconds(config_path, f"{folder}/all")
            limit = 1 / (1 / decode + 1 / encode)
            ours = (len(records) - FEW) / (whole - start)
            yield {
                "decode": decode,
                "encode": encode,
                "limit": limit,
                "ours": ours,
                "ours, whole run": len(records) / whole,
                "ratio": ours / limit,
            }


def _batches(records: list[ImageRecord], spec: ImageSpec, size: int) -> list[np.ndarray]:
    pixels = []
    for record in records[: 60 * size]:
        decoded = decode_record(record, spec, ("center",), DecodeRules())
        assert isinstance(decoded, DecodedImage), decoded
        pixels.append(decoded.pixels[0])
    return [np.stack(pixels[i : i + size]) for i in range(0, len(pixels) - size + 1, size)]


@click.command(help=__doc__)
@click.argument("config", default="configs/tokenize/fashion_mnist_train.yaml")
@click.option("--repeats", default=5, show_default=True)
@click.option("--json", "json_path", help="Also write the figures here.")
def main(config: str, repeats: int, json_path: str | None) -> None:
    table = Table("images/s", title=config)
    measured = []
    for number, figures in enumerate(rounds(config, repeats), start=1):
        measured.append(figures)
        table.add_column(f"round {number}", justify="right")
    table.add_column("median", justify="right")
    medians = {name: statistics.median(m[name] for m in measured) for name in measured[0]}
    for name in medians:
        cells = [m[name] for m in [*measured, medians]]
        table.add_row(name, *(f"{c:.2f}" if name == "ratio" else f"{c:,.0f}" for c in cells))
    Console(width=140).print(table)
    if json_path:
        Path(json_path).write_text(
            json.dumps({"config": config, "cores": CORES, "rounds": measured, **medians}, indent=2)
        )


if __name__ == "__main__":
    main()
