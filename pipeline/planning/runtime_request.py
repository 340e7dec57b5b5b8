"""The runtime of a job, before it is known how fast any is here: what the config asks for."""

import importlib.metadata
import math

from fsq.dataset.fingerprint import RuntimeChoice
from fsq.errors import DataError
from fsq.runtimes import NEEDS, RuntimeName, reference_runtime
from fsq.runtimes.autoselect import candidates
from fsq.runtimes.factory import check_runtime
from fsq.runtimes.probe import ProbeResult
from fsq.spec.contract import TokenContract
from pipeline.job.config import TokenizeConfig

# Channel values of all images. Below, trying runtimes takes longer than it can save.
SMALL_JOB = 2**24


def request_runtime(
    config: TokenizeConfig, contract: TokenContract, num_images: int
) -> RuntimeChoice:
    """Describes the runtime that a job begins with, as its fingerprint has it.

    Args:
      config: The job's config.
      contract: Its tokens.
      num_images: Runs of the encoder, each over one image or view.

    Returns:
      The runtime; its name is 'auto' where it has to be found out by trying.

    Raises:
      RequestError: The tokenizer cannot be run so.
    """
    kind = contract.network.kind
    name = config.runtime
    if name == "auto" and config.precision != "float32":
        name = "openvino"  # no other has another precision
    if name == "auto" and (
        len(candidates(kind)) == 1 or num_images * math.prod(contract.image.shape) < SMALL_JOB
    ):
        name = reference_runtime(kind)
    if name == "auto":
        return RuntimeChoice(name=name, precision=config.precision)
    check_runtime(name, config.precision, kind)
    return describe_runtime(name, config.precision)


def describe_runtime(name: RuntimeName, precision: str) -> RuntimeChoice:
    """Returns the name, the precision and, of a package of its own, the version."""
    version = importlib.metadata.version(NEEDS[name][0]) if name in NEEDS else None
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
