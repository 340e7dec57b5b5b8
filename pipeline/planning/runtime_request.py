"""Runtime request: the runtime that a config asks for, as the fingerprint describes it."""

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

# Pixel values of all images together; below this, measuring runtimes takes longer than it saves.
SMALL_JOB = 2**24


def request_runtime(
    config: TokenizeConfig, contract: TokenContract, num_images: int
) -> RuntimeChoice:
    """Describes the runtime that a job starts with, for its fingerprint.

    Args:
      config: The job's config.
      contract: The tokenizer's contract.
      num_images: Number of images times views.

    Returns:
      See `describe_runtime`. The name is 'auto', without a version, if it has to
      be selected by measuring.

    Raises:
      RequestError: The runtime does not support the tokenizer, or is not installed.
    """
    kind = contract.network.kind
    name = config.runtime
    if name == "auto":
        names = candidates(kind, config.precision)
        if len(names) > 1 and not _is_small(contract, num_images):
            return RuntimeChoice(name=name, precision=config.precision)
        name = names[-1]
    check_runtime(name, config.precision, kind)
    return describe_runtime(name, config.precision)


def small_job_note(config: TokenizeConfig, contract: TokenContract, num_images: int) -> str | None:
    """Says that a job takes the reference runtime because it is small; None if that is not so.

    Train and test images of one dataset, tokenized in two jobs, could otherwise run
    in two runtimes without anybody noticing.
    """
    names = candidates(contract.network.kind, config.precision)
    if config.runtime != "auto" or len(names) < 2 or not _is_small(contract, num_images):
        return None
    return (
        f"{names[-1]}, because the job is small; a larger one may take another. To use the same "
        f"for all jobs of a dataset, set runtime to {names[-1]} or {names[0]}"
    )


def _is_small(contract: TokenContract, num_images: int) -> bool:
    return num_images * math.prod(contract.image.shape) < SMALL_JOB


def describe_runtime(name: RuntimeName, precision: Precision) -> RuntimeChoice:
    """Returns the runtime with the version of its package, if it has one of its own."""
    package = RUNTIMES[name].package
    version = None if package is None else importlib.metadata.version(package.name)
    return RuntimeChoice(name=name, precision=precision, version=version)


def show_runtime(runtime: RuntimeChoice) -> str:
    """Describes a runtime in words.

    Raises:
      DataError: Its probe result is malformed; manifests are not trusted.
    """
    if runtime.name == "auto":
        return "auto: the fastest on this machine that gives the reference's tokens"
    shown = (
        runtime.name if runtime.precision == "float32" else f"{runtime.name} in {runtime.precision}"
    )
    if runtime.probe is None:
        return shown
    try:
        return f"{shown}; {ProbeResult(**runtime.probe)}"
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DataError(
            "fingerprint: expected a runtime with a probe result, got something else. "
            "The dataset is damaged; tokenize it again."
        ) from error
