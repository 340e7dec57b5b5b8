"""The runtime that a config asks for, and how a fingerprint describes it."""

import importlib.metadata
import math

from fsq.dataset.fingerprint import RuntimeChoice
from fsq.errors import DataError
from fsq.runtimes.autoselect import candidates
from fsq.runtimes.base import Precision
from fsq.runtimes.factory import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.runtimes.registry import RUNTIMES, RuntimeName
from fsq.spec.contract import TokenContract
from pipeline.job.config import TokenizeConfig

# Channel values of all images; below this, trying runtimes takes longer than it can save.
SMALL_JOB = 2**24


def request_runtime(
    config: TokenizeConfig, contract: TokenContract, num_images: int
) -> RuntimeChoice:
    """Describes the runtime that a job begins with, for its fingerprint.

    Args:
      config: The job's config.
      contract: The tokenizer's contract.
      num_images: Images and views to encode.

    Returns:
      See `describe_runtime`. The name is 'auto', without a version, where it has
      to be found out by trying.

    Raises:
      RequestError: The tokenizer cannot be run so, or a package is missing.
    """
    kind = contract.network.kind
    name = config.runtime
    if name == "auto":
        names = candidates(kind, config.precision)
        if len(names) > 1 and num_images * math.prod(contract.image.shape) >= SMALL_JOB:
            return RuntimeChoice(name=name, precision=config.precision)
        name = names[-1]
    check_runtime(name, config.precision, kind)
    return describe_runtime(name, config.precision)


def describe_runtime(name: RuntimeName, precision: Precision) -> RuntimeChoice:
    """Returns the runtime with the version of its package, if it needs one of its own."""
    package = RUNTIMES[name].package
    version = None if package is None else importlib.metadata.version(package.name)
    return RuntimeChoice(name=name, precision=precision, version=version)


def show_runtime(runtime: RuntimeChoice) -> str:
    """Renders a runtime in words.

    Raises:
      DataError: Its probe says something else; a manifest may come from anybody.
    """
    if runtime.name == "auto":
        return "the fastest here whose tokens are the reference's"
    shown = (
        runtime.name if runtime.precision == "float32" else f"{runtime.name} in {runtime.precision}"
    )
    if runtime.probe is None:
        return shown
    try:
        return f"{shown}; {ProbeResult(**runtime.probe)}"
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            "fingerprint: expected the runtime of the job in it, got something else. "
            "The dataset is damaged; tokenize it again."
        ) from error
