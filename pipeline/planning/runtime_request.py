"""The runtime that a config asks for, and how a fingerprint describes it."""

import importlib.metadata
import math
from typing import Any

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
) -> dict[str, Any]:
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
            return {"name": name, "precision": config.precision}
        name = names[-1]
    check_runtime(name, config.precision, kind)
    return describe_runtime(name, config.precision)


def describe_runtime(name: RuntimeName, precision: Precision) -> dict[str, Any]:
    """Returns 'name', 'precision' and, if it needs a package of its own, that one's 'version'."""
    described = {"name": name, "precision": precision}
    if (package := RUNTIMES[name].package) is None:
        return described
    return {**described, "version": importlib.metadata.version(package.name)}


def show_runtime(runtime: Any) -> str:
    """Describes a runtime in words, from what a fingerprint says of it.

    Raises:
      DataError: The fingerprint says nothing of the kind; a manifest may come from anybody.
    """
    try:
        return _show(runtime)
    except (TypeError, KeyError, ValueError, ArithmeticError) as error:
        raise DataError(
            "fingerprint: expected the runtime of the job in it, got something else. "
            "The dataset is damaged; tokenize it again."
        ) from error


def _show(runtime: dict[str, Any]) -> str:
    if runtime["name"] == "auto":
        return "the fastest here whose tokens are the reference's"
    precision = "" if runtime["precision"] == "float32" else f" in {runtime['precision']}"
    if "probe" not in runtime:
        return f"{runtime['name']}{precision}"
    return f"{runtime['name']}{precision}; {ProbeResult(**runtime['probe'])}"
