"""Run guard: keeps checkpoints from being resumed by a run with another config or other images."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from fsq.errors import RequestError
from fsq.spec.contract import TokenizerSpec
from fsq.storage import filesystem
from fsq.storage.json_documents import first_difference
from fsq.training.config import TrainingSpec
from fsq.training.data import TrainingImages

MARKER = "run.json"


def guard_run(
    directory: Path,
    spec: TokenizerSpec,
    training: TrainingSpec,
    images: TrainingImages,
    replicas: int,
) -> None:
    """Writes this run's description into the directory, or compares it with the one there.

    Args:
      directory: Of the checkpoints; made if it does not exist.
      spec: The tokenizer that is trained.
      training: Hyperparameters.
      images: What is trained on.
      replicas: Devices that share a batch.

    Raises:
      RequestError: The directory is another run's, or its description cannot be read.
    """
    run: dict[str, Any] = {
        "tokenizer": spec.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "images": images.digest,
        "replicas": replicas,
    }
    if training.perceptual and os.path.exists(training.perceptual.model):
        run["feature_model"] = hashlib.sha256(
            Path(training.perceptual.model).read_bytes()
        ).hexdigest()
    marker = directory / MARKER
    if not marker.exists():
        directory.mkdir(parents=True, exist_ok=True)
        filesystem.write(str(marker), (json.dumps(run, indent=2) + "\n").encode())
        return
    try:
        other = json.loads(marker.read_bytes())
        difference = first_difference(other, json.loads(json.dumps(run)))
    except (ValueError, AttributeError, TypeError) as error:
        raise RequestError(
            f"{marker}: expected the mark of a run, got a damaged file. "
            "Remove the directory to begin again."
        ) from error
    if difference is not None:
        raise RequestError(
            f"{directory}: expected checkpoints of this run, found those of another: "
            f"{difference}. Remove the directory, or choose another output."
        )
