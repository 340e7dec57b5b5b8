"""The throughput of a job, against the limit of decoding and encoding, and against other tools.

    python -m benchmarks.throughput            # all workloads, hours
    python -m benchmarks.throughput S --repeats 5 --json out/throughput.json
    python -m benchmarks.throughput --quick    # a check that everything runs

measures decoding and encoding alone, `fsq tokenize`, and the same job in other tools, each in
a process of its own with the same encoder and the same images. They take turns, because the
speed of a shared machine changes within a minute. Workloads are described in
`benchmarks/workloads.py`, the other tools in `benchmarks/peers/`; those need the extra
`peers`, and are skipped if they are not installed.
"""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
from rich.console import Console

from benchmarks.contenders import CONTENDERS
from benchmarks.datasets import prepare
from benchmarks.machine import describe_machine
from benchmarks.report import contenders_table, limit_table
from benchmarks.rounds import Sizes, measure_workload
from benchmarks.workloads import WORKLOADS, Workload

QUICK_IMAGES = {"S": 300, "M": 300, "L": 24, "D": 100}


def sizes_of(workload: Workload, images: int | None, slow: int, timeout: float) -> Sizes:
    """Returns the sizes of a measurement; with fewer images the small run is smaller too."""
    count = min(images or workload.images, workload.images)
    few = workload.few if count == workload.images else max(1, count // 4)
    return Sizes(count, few, slow, encode_seconds=5.0, timeout_seconds=timeout)


@click.command(help=__doc__)
@click.argument("workloads", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option("--repeats", default=3, show_default=True, help="Rounds per workload.")
@click.option("--images", type=int, help="Take the first N images of each workload.")
@click.option("--limit", default=10_000, show_default=True, help="Most images for slow peers.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["limit", *(contender.name for contender in CONTENDERS)]),
    help="Measure only these; may be given several times.",
)
@click.option("--quick", is_flag=True, help="A few hundred images, one round, no steady speed.")
@click.option(
    "--timeout", default=3600.0, show_default=True, help="Time limit of one run, in seconds."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(
    workloads: tuple[str, ...],
    repeats: int,
    images: int | None,
    limit: int,
    only: tuple[str, ...],
    quick: bool,
    timeout: float,
    json_path: Path | None,
) -> None:
    """Measures the workloads and prints their tables."""
    # When this process is terminated, the measured one must not be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    console, progress = Console(width=150), Console(stderr=True)
    contenders = [c for c in CONTENDERS if not only or c.name in only]
    results: dict[str, Any] = {"machine": describe_machine(), "workloads": {}}
    console.print_json(data=results["machine"])
    for name in workloads or WORKLOADS:
        workload = WORKLOADS[name]
        sizes = sizes_of(workload, QUICK_IMAGES[name] if quick else images, limit, timeout)
        if quick:
            sizes = dataclasses.replace(sizes, few=0, encode_seconds=0.5)
        try:
            prepare(workload, sizes.images)
        except FileNotFoundError as error:
            raise click.ClickException(str(error)) from error
        measured = measure_workload(
            workload,
            contenders,
            sizes,
            1 if quick else repeats,
            progress.print,
            with_limit=not only or "limit" in only,
        )
        results["workloads"][name] = {**dataclasses.asdict(sizes), **measured}
        if measured["limit"]:
            console.print(limit_table(workload, measured["limit"]))
        console.print(contenders_table(measured["contenders"]))
        # After each workload, because a long run may be stopped.
        if json_path:
            json_path.parent.mkdir(parents=True, exist_ok=True)
            json_path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
