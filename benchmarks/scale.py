"""The cost of an image in a small and in a large dataset: python -m benchmarks.scale

Measures jobs over the 60,000 images of Fashion-MNIST, and over a million images: the same
files under more names. The fixed cost of a job is subtracted: the cost per image is the
difference in time between two runs, over the difference in images. Shuffling and writing
shards are included.
"""

import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import ENVIRONMENT
from benchmarks.datasets import FILES, Dataset, prepare
from benchmarks.machine import describe_machine
from benchmarks.measured import Cost, run_measured
from benchmarks.workloads import CACHE, ROOT, WORKLOADS

WORKLOAD = WORKLOADS["S"]
FEW, SMALL, LARGE = 22_000, 60_000, 1_000_000


@dataclasses.dataclass(frozen=True)
class Beyond:
    """The cost of the images that a run has in addition to a smaller run.

    Attributes:
      seconds: Wall time per million images.
      cpu_seconds: CPU time of all cores per million images.
    """

    seconds: float
    cpu_seconds: float


def cost_beyond(few: int, few_cost: Cost, many: int, many_cost: Cost) -> Beyond:
    """Subtracts a run over few images from a run over many.

    >>> cost_beyond(1, Cost(5.0, 6.0, 0, ""), 2, Cost(7.0, 9.0, 0, ""))
    Beyond(seconds=2000000.0, cpu_seconds=3000000.0)
    """
    scale = 1e6 / (many - few)
    return Beyond(
        (many_cost.seconds - few_cost.seconds) * scale,
        (many_cost.cpu_seconds - few_cost.cpu_seconds) * scale,
    )


def repeat_files(dataset: Dataset, images: int, folder: Path) -> str:
    """Links the TFRecord files of a dataset under more names, until there are enough images.

    Returns:
      The pattern of the names. Keys contain the name, so no key is repeated.
    """
    per_file = WORKLOAD.images // FILES
    for number in range(-(-images // per_file)):
        os.link(dataset.tfrecords[number % FILES], folder / f"images-{number:05d}.tfrecord")
    return f"{folder}/images-*.tfrecord"


def measure(images: int) -> Cost:
    """Tokenizes a number of images in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="scale", dir=CACHE) as scratch:
        folder = Path(scratch)
        files = repeat_files(prepare(WORKLOAD, WORKLOAD.images), images, folder)
        config = {
            "source": {"kind": "tfrecord", "files": files, "image": "image"},
            "tokenizer": str(WORKLOAD.tokenizer),
            "output": {"directory": str(folder / "out"), "name": "tokens"},
            "batch_size": WORKLOAD.batch_size,
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "pipeline.cli", "tokenize", str(folder / "job.yaml")]
        cost = run_measured(
            [*command, "--limit", str(images)],
            cwd=ROOT,
            environment={**ENVIRONMENT, "FSQ_CACHE": str(CACHE / "kept")},
            log=folder / "log",
            timeout_seconds=3600,
        )
        found = json.loads((folder / "out/manifest.json").read_text())["records"]
        assert found == images, (found, images)
        return cost


def measure_round(say: Any) -> dict[str, Any]:
    """Runs the three sizes one after the other."""
    costs = {}
    for images in (FEW, SMALL, LARGE):
        say(f"{images:,} images")
        costs[images] = measure(images)
    small = cost_beyond(FEW, costs[FEW], SMALL, costs[SMALL])
    large = cost_beyond(SMALL, costs[SMALL], LARGE, costs[LARGE])
    return {
        "small": dataclasses.asdict(small) | {"peak_mb": costs[SMALL].peak_mb},
        "large": dataclasses.asdict(large) | {"peak_mb": costs[LARGE].peak_mb},
        "whole_seconds": {str(images): cost.seconds for images, cost in costs.items()},
    }


def summarize(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the medians of both sizes, and of their ratio within a round."""
    found: dict[str, dict[str, float]] = {"small": {}, "large": {}, "ratio": {}}
    for field in ("seconds", "cpu_seconds", "peak_mb"):
        for size in ("small", "large"):
            found[size][field] = statistics.median(r[size][field] for r in rounds)
        found["ratio"][field] = statistics.median(
            r["large"][field] / r["small"][field] for r in rounds
        )
    return found


@click.command(help=__doc__)
@click.option("--repeats", default=3, show_default=True, help="Rounds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(repeats: int, json_path: Path | None) -> None:
    """Measures the rounds and prints the cost per image of each size."""
    console, progress = Console(width=120), Console(stderr=True)
    progress.print("one run that is not counted, to fill the cache")
    measure(FEW)
    rounds = [measure_round(progress.print) for _ in range(repeats)]
    found = summarize(rounds)
    table = Table("images", title="Cost of images in a small and in a large dataset")
    for column in ("seconds per million", "CPU seconds per million", "peak MB"):
        table.add_column(column, justify="right")
    for size, name in (("small", f"{SMALL:,}"), ("large", f"{LARGE:,}")):
        table.add_row(name, *(f"{value:,.1f}" for value in found[size].values()))
    table.add_row("ratio", *(f"{value:.3f}" for value in found["ratio"].values()))
    console.print(table)
    if json_path:
        content = {"machine": describe_machine(), **found, "rounds": rounds}
        json_path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
