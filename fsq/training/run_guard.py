"""Run guard: keeps checkpoints from being resumed by a run with another config or other images."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsq.errors import RequestError
from fsq.spec.contract import TokenizerSpec
from fsq.storage import filesystem
from fsq.storage.json_documents import first_difference
from fsq.training.config import TrainingSpec

MARKER = "run.json"


def describe_run(spec: TokenizerSpec, training: TrainingSpec) -> dict[str, Any]:
    """Returns what a config says about the result of a run.

    How often checkpoints are saved is no part of it; a feature model stands in it
    with its content, not with its path.
    """
    free: Any = {"checkpoint_steps": True, "perceptual": {"model"}}
    run: dict[str, Any] = {
        "tokenizer": spec.model_dump(mode="json"),
        "training": training.model_dump(mode="json", exclude=free),
    }
    if training.perceptual and os.path.exists(training.perceptual.model):
        data = Path(training.perceptual.model).read_bytes()
        run["feature_model"] = hashlib.sha256(data).hexdigest()
    return run


def find_checkpoints(directory: Path) -> dict[int, Path]:
    """Returns the checkpoints in a directory by their number of steps; they may be damaged."""
    return {
        int(path.stem.removeprefix("ckpt-")): path.with_suffix("")
        for path in directory.glob("ckpt-*.index")
    }


def check_run(directory: Path, run: Mapping[str, Any]) -> None:
    """Compares what is known of this run with the description beside the checkpoints.

    A directory without a checkpoint is no other run's.

    Args:
      directory: Of the checkpoints.
      run: Some or all fields of the description.

    Raises:
      RequestError: The checkpoints are another run's, or the description cannot be read.
    """
    if not find_checkpoints(directory):
        return
    marker = directory / MARKER
    try:
        content = json.loads(marker.read_bytes())
        other = {name: value for name, value in content.items() if name in run}
        difference = first_difference(other, json.loads(json.dumps(run)))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise RequestError(
            f"{marker}: expected the mark of a run, got a damaged file. "
            "Remove the directory to begin again."
        ) from error
    if difference is not None:
        raise RequestError(
            f"{directory}: expected checkpoints of this run, found those of another: "
            f"{difference}. Remove the directory, or choose another output."
        )


def guard_run(directory: Path, run: Mapping[str, Any]) -> None:
    """Writes the description of a run into its directory, unless its checkpoints are there.

    Args:
      directory: Of the checkpoints; made if it does not exist.
      run: The whole description.

    Raises:
      RequestError: The directory is another run's, or its description cannot be read.
    """
    check_run(directory, run)
    if find_checkpoints(directory):
        return  # of this run; what is missing now, such as a feature model, stays described
    directory.mkdir(parents=True, exist_ok=True)
    filesystem.write(str(directory / MARKER), (json.dumps(run, indent=2) + "\n").encode())
