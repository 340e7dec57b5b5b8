"""Weights on disk: the checkpoints of a run, and its best network.

All are safetensors files with a sha256 of their content, written under a temporary name
and renamed. Loading runs no code. Equal weights give equal bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from examples.prior.model import Prior
from fsq.errors import RequestError
from fsq.spec.serialization import read_metadata
from fsq.storage import filesystem

NETWORK_FILE = "network.safetensors"
CHECKPOINTS = "checkpoints"
KEPT = 2
# A single entry of metadata, because safetensors writes several in arbitrary order.
FACTS = "facts"
Arrays = dict[str, np.ndarray]


def save_network(directory: str, prior: Prior, *, step: int, nats: float) -> None:
    """Saves the weights, with their step and their loss."""
    arrays = _arrays(prior.trainable_variables, "network")
    filesystem.write(f"{directory}/{NETWORK_FILE}", _pack(arrays, {"step": step, "nats": nats}))


def load_network(directory: str, prior: Prior) -> None:
    """Loads the weights of a prior.

    Raises:
      RequestError: They are missing, damaged, or those of another network.
    """
    path = Path(directory) / NETWORK_FILE
    arrays, _facts = _read(path)
    _set(prior.trainable_variables, arrays, "network", path)


def best_nats(directory: str) -> float:
    """Returns the loss of the saved network; infinity if none is saved yet.

    Raises:
      RequestError: The file is damaged.
    """
    path = Path(directory) / NETWORK_FILE
    if not path.exists():
        return float("inf")
    _arrays, facts = _read(path)
    return float(facts["nats"])


def save_checkpoint(directory: str, state: dict[str, Any], step: int, seconds: float) -> None:
    """Saves the state of a run, and removes all checkpoints but the last two.

    Args:
      directory: The output directory of the run.
      state: Keras variables, by the name of their owner.
      step: Number of steps done.
      seconds: Time spent in training.
    """
    folder = Path(directory) / CHECKPOINTS
    arrays: Arrays = {}
    for name, variables in state.items():
        arrays |= _arrays(variables, name)
    data = _pack(arrays, {"step": step, "seconds": seconds})
    filesystem.write(str(folder / f"step-{step:09d}.safetensors"), data)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink()


def steps_done(directory: str) -> int:
    """Returns the number of steps of the newest checkpoint; 0 without one."""
    paths = (Path(directory) / CHECKPOINTS).glob("step-*.safetensors")
    return max((int(path.stem.removeprefix("step-")) for path in paths), default=0)


def restore_checkpoint(directory: str, state: dict[str, Any]) -> tuple[int, float]:
    """Restores the newest checkpoint that is not damaged.

    Returns:
      The number of steps done and the seconds spent; zeros without a checkpoint.

    Raises:
      RequestError: All checkpoints are damaged.
    """
    paths = sorted((Path(directory) / CHECKPOINTS).glob("step-*.safetensors"), reverse=True)
    for path in paths:
        try:
            arrays, facts = _read(path)
        except RequestError:
            continue
        for name, variables in state.items():
            _set(variables, arrays, name, path)
        return int(facts["step"]), float(facts["seconds"])
    if paths:
        raise RequestError(
            f"{directory}: expected checkpoints that can be read, found {len(paths)} damaged. "
            "Remove the directory and train again."
        )
    return 0, 0.0


def _arrays(variables: list[Any], name: str) -> Arrays:
    return {
        f"{name}.{number:04d}": np.array(variable.numpy(), order="C")
        for number, variable in enumerate(variables)
    }


def _set(variables: list[Any], arrays: Arrays, name: str, path: Path) -> None:
    for number, variable in enumerate(variables):
        value = arrays.get(f"{name}.{number:04d}")
        if value is None or value.shape != tuple(variable.shape):
            found = "none" if value is None else list(value.shape)
            raise RequestError(
                f"{path}: expected {variable.path} of shape {list(variable.shape)}, found {found}. "
                "Train the prior again."
            )
        variable.assign(value)


def _pack(arrays: Arrays, facts: dict[str, float]) -> bytes:
    sealed = {**facts, "sha256": _digest(arrays, facts)}
    packed: bytes = safetensors.numpy.save(arrays, {FACTS: json.dumps(sealed)})
    return packed


def _read(path: Path) -> tuple[Arrays, dict[str, float]]:
    """Reads a file written by `_pack`."""
    try:
        data = path.read_bytes()
        arrays = safetensors.numpy.load(data)
        facts = json.loads(read_metadata(data)[FACTS])
        if facts.pop("sha256") != _digest(arrays, facts):
            raise ValueError("a wrong sha256")
        return arrays, facts
    except (OSError, safetensors.SafetensorError, ValueError, LookupError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(
            f"{path}: expected weights, got: {reason}. Remove the directory and train again."
        ) from error


def _digest(arrays: Arrays, facts: Mapping[str, float]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
