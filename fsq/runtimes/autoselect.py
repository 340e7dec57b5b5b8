"""Automatic choice of a runtime: the fastest that gives the tokens of the reference."""

import dataclasses
import itertools
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fsq.cores import count_cores
from fsq.errors import RequestError
from fsq.runtimes.base import NetworkKind, Precision, Runtime
from fsq.runtimes.factory import make_runtime
from fsq.runtimes.probe import ProbeResult, compare_runtimes
from fsq.runtimes.registry import RUNTIMES, RuntimeName, reference_runtime

# Measured speed varies from second to second. Only a clearly faster runtime replaces the first
# candidate, so that the same machine makes the same choice again.
CLEARLY_FASTER = 1.3
SECONDS_EACH = 0.2
ROUNDS = 3
ENOUGH_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """Measurements of a candidate.

    Attributes:
      name: Name of the runtime.
      images_per_second: Speed on all cores.
      probe: Agreement of its tokens with the reference's.
    """

    name: RuntimeName
    images_per_second: float
    probe: ProbeResult


def candidates(network: NetworkKind, precision: Precision = "float32") -> tuple[RuntimeName, ...]:
    """Lists the runtimes that `auto` tries: the first that is installed, then the reference.

    If the reference does not support the precision, only the first runtime that
    does, installed or not.

    Raises:
      RequestError: No runtime of the network supports the precision.
    """
    ranked = sorted(
        (kind.auto_rank, name)
        for name, kind in RUNTIMES.items()
        if kind.auto_rank is not None and network in kind.networks and precision in kind.precisions
    )
    installed = [name for _, name in ranked if RUNTIMES[name].is_installed()]
    reference = reference_runtime(network)
    if precision in RUNTIMES[reference].precisions:
        return (*installed[:1], reference)
    names = installed or [name for _, name in ranked]
    if not names:
        raise RequestError(
            f"precision: expected float32 for this tokenizer's network ({network}), "
            f"got {precision}. No runtime of this network supports it."
        )
    return (names[0],)


def choose_runtime(autoencoder: Any, batch_size: int, images: np.ndarray) -> tuple[Trial, Runtime]:
    """Chooses a runtime by trying the candidates in float32.

    Args:
      autoencoder: Encoder and quantizer, trained here or imported.
      batch_size: Images per call.
      images: The probe, uint8 [N, H, W, C], whole batches.

    Returns:
      The trial of the chosen runtime, and the runtime itself.
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


def measure(
    runtimes: Mapping[RuntimeName, Runtime], images: np.ndarray
) -> dict[RuntimeName, float]:
    """Measures images per second of each runtime on all cores, in turns.

    Takes the best of a few rounds; of one round if batches take long.
    """
    cores = count_cores()
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
