"""Weights on disk: the checkpoints of a run, and the network that did best.

All are safetensors, written under another name and renamed; loading runs no code.
"""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from examples.prior.model import Prior
from fsq.errors import RequestError
from fsq.saved import replace_file

NETWORK_FILE = "network.safetensors"
CHECKPOINTS = "checkpoints"
KEPT = 2


def save_network(directory: str, prior: Prior, *, step: int, nats: float) -> None:
    """Writes the weights, with the step and the loss that they had."""
    metadata = {"step": str(step), "nats": repr(nats)}
    data = safetensors.numpy.save(_arrays(prior.trainable_variables, "network"), metadata)
    replace_file(Path(directory) / NETWORK_FILE, data)


def load_network(directory: str, prior: Prior) -> None:
    """Sets the weights of a prior.

    Raises:
      RequestError: There are none that can be read, or they are of another network.
    """
    path = Path(directory) / NETWORK_FILE
    _set(prior.trainable_variables, _read(path), "network", path)


def best_nats(directory: str) -> float:
    """Returns the loss that the saved network had; infinity if there is none yet."""
    path = Path(directory) / NETWORK_FILE
    return float(_metadata(path)["nats"]) if path.exists() else float("inf")


def save_checkpoint(directory: str, state: dict[str, Any], step: int, seconds: float) -> None:
    """Writes everything that a run needs to go on, and removes what is older than the last two.

    Args:
      directory: The run's.
      state: Variables of Keras, by the name of what they belong to.
      step: How many steps are done.
      seconds: Spent in training.
    """
    folder = Path(directory) / CHECKPOINTS
    arrays: dict[str, np.ndarray] = {}
    for name, variables in state.items():
        arrays |= _arrays(variables, name)
    data = safetensors.numpy.save(arrays, {"step": str(step), "seconds": repr(seconds)})
    replace_file(folder / f"step-{step:09d}.safetensors", data)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink()


def restore_checkpoint(directory: str, state: dict[str, Any]) -> tuple[int, float]:
    """Restores the newest checkpoint that can be read.

    Returns:
      How many steps are done, and the seconds spent; zeros if there is none.

    Raises:
      RequestError: All are damaged.
    """
    paths = sorted((Path(directory) / CHECKPOINTS).glob("step-*.safetensors"), reverse=True)
    for path in paths:
        try:
            arrays, metadata = _read(path), _metadata(path)
        except RequestError:
            continue
        for name, variables in state.items():
            _set(variables, arrays, name, path)
        return int(metadata["step"]), float(metadata["seconds"])
    if paths:
        raise RequestError(
            f"{directory}: expected checkpoints that can be read, found {len(paths)} damaged. "
            "Remove the directory to begin again."
        )
    return 0, 0.0


def _arrays(variables: list[Any], name: str) -> dict[str, np.ndarray]:
    return {
        f"{name}.{number:04d}": np.array(variable.numpy(), order="C")
        for number, variable in enumerate(variables)
    }


def _set(variables: list[Any], arrays: dict[str, np.ndarray], name: str, path: Path) -> None:
    for number, variable in enumerate(variables):
        value = arrays.get(f"{name}.{number:04d}")
        if value is None or value.shape != tuple(variable.shape):
            found = "none" if value is None else list(value.shape)
            raise RequestError(
                f"{path}: expected {variable.path} of shape {list(variable.shape)}, found {found}. "
                "Train the prior again."
            )
        variable.assign(value)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise RequestError(
            f"{path}: expected weights, got: {error}. Train the prior, or train it further."
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "numpy") as file:
        return file.metadata()
