"""Which runtime: the fastest here whose tokens are those of the reference."""

import dataclasses
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fsq.runtimes import Runtime, RuntimeName, is_installed, reference_runtime
from fsq.runtimes.factory import make_runtime
from fsq.runtimes.probe import ProbeResult, compare_runtimes

# A machine's speed varies from second to second; who comes first must be beaten clearly, so that
# the same machine chooses the same runtime again.
CLEARLY_FASTER = 1.3
SECONDS_EACH = 0.2
ROUNDS = 3
ENOUGH_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """One runtime as it was found.

    Attributes:
      name: Of the runtime.
      images_per_second: On all cores.
      probe: Its tokens beside the reference's.
    """

    name: RuntimeName
    images_per_second: float
    probe: ProbeResult


def candidates(kind: str) -> tuple[RuntimeName, ...]:
    """The runtimes to try for a network of this kind; the reference is the last.

    XLA takes seconds to compile and was nowhere faster than OpenVINO, so it is
    tried only where that is missing.
    """
    reference = reference_runtime(kind)
    if kind == "onnx":
        return (reference,)
    return ("openvino" if is_installed("openvino") else "xla", reference)


def choose_runtime(autoencoder: Any, batch_size: int, images: np.ndarray) -> tuple[Trial, Runtime]:
    """Tries the candidates.

    Args:
      autoencoder: An `Autoencoder` or `ImportedAutoencoder`.
      batch_size: Images per call.
      images: The probe, whole batches.

    Returns:
      The choice, and the runtime itself.
    """
    names = candidates(autoencoder.spec.network.kind)
    runtimes = {name: make_runtime(name, autoencoder, batch_size) for name in names}
    reference = runtimes[names[-1]]
    probes = {
        name: compare_runtimes(autoencoder, reference, runtime, images)
        for name, runtime in runtimes.items()
    }
    speeds = measure(runtimes, images)
    trials = [Trial(name, speeds[name], probes[name]) for name in names]
    chosen, *others = [trial for trial in trials if trial.probe.agrees]
    for other in others:
        if other.images_per_second > chosen.images_per_second * CLEARLY_FASTER:
            chosen = other
    return chosen, runtimes[chosen.name]


def measure(runtimes: dict[RuntimeName, Runtime], images: np.ndarray) -> dict[RuntimeName, float]:
    """Images per second of each runtime with all cores, in turns; the best of a few rounds.

    One round where batches take long.
    """
    cores = len(os.sched_getaffinity(0))
    best = dict.fromkeys(runtimes, 0.0)
    start = time.perf_counter()
    with ThreadPoolExecutor(cores) as threads:
        for number in range(ROUNDS):
            if number and time.perf_counter() - start > ENOUGH_SECONDS:
                break
            for name, runtime in runtimes.items():
                batches = itertools.cycle(np.split(images, len(images) // runtime.batch_size))
                began, count = time.perf_counter(), 0
                while time.perf_counter() - began < SECONDS_EACH:
                    some = list(itertools.islice(batches, cores))
                    list(threads.map(runtime, some))
                    count += cores * runtime.batch_size
                best[name] = max(best[name], count / (time.perf_counter() - began))
    return best
