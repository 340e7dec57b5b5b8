"""The command line of all peers."""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fsq.cores import count_cores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.datasets import Dataset, prepare
from benchmarks.workloads import WORKLOADS, Workload

CORES = count_cores()


@dataclasses.dataclass(frozen=True)
class PeerJob:
    """The job of a peer.

    Attributes:
      workload: The workload, for its encoder.
      dataset: The images.
      output: An empty folder for the tokens.
      runtime: The runtime of the encoder, where there is a choice: 'graph' is a plain
        `tf.function`, 'openvino' is the one that `fsq tokenize` uses.
    """

    workload: Workload
    dataset: Dataset
    output: Path
    runtime: str


def run_peer(work: Callable[[PeerJob], None], *, runtimes: tuple[str, ...] = ("graph",)) -> None:
    """Reads the command line, does the work, and prints a report as JSON.

    The seconds of the report do not include imports and preparations; those that the
    benchmark measures do.
    """
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).stem)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--images", type=int, help="take the first N images; default: all")
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
