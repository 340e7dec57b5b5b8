"""The command line that all peers have."""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.datasets import Dataset, prepare
from benchmarks.workloads import WORKLOADS, Workload

CORES = len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class PeerJob:
    """What a peer has to do.

    Attributes:
      workload: Whose encoder.
      dataset: The images.
      output: An empty folder for the tokens.
      runtime: How the encoder is run where there is a choice: 'graph' is a plain
        `tf.function`, 'openvino' is what `fsq tokenize` uses.
    """

    workload: Workload
    dataset: Dataset
    output: Path
    runtime: str


def run_peer(work: Callable[[PeerJob], None], *, runtimes: tuple[str, ...] = ("graph",)) -> None:
    """Reads the command line, does the work, and prints a report as JSON.

    The report's seconds begin where imports and preparations end; the driver's
    own clock counts those too.
    """
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).stem)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--images", type=int, help="take the first so many; all of them")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--runtime", choices=runtimes, default=runtimes[0])
    arguments = parser.parse_args()
    workload = WORKLOADS[arguments.workload]
    images = arguments.images or workload.images
    dataset = prepare(workload, images)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if any(arguments.output.iterdir()):
        parser.error(f"{arguments.output}: expected an empty folder. Choose another.")
    job = PeerJob(workload, dataset, arguments.output.resolve(), arguments.runtime)
    began = time.perf_counter()
    work(job)
    seconds = time.perf_counter() - began
    print(json.dumps({"workload": workload.name, "images": images, "seconds": round(seconds, 3)}))
