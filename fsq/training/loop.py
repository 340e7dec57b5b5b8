"""The training loop: batches in order, steps, checkpoints; a resumed run goes on exactly."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from fsq.autoencoder import Autoencoder
from fsq.contract import TokenizerSpec
from fsq.errors import RequestError
from fsq.training.batches import TrainingImages, batch_of_step, variance_of
from fsq.training.dead_start import check_first_step
from fsq.training.recipe import TrainingSpec
from fsq.training.step import TrainStep

Progress = Callable[[int, int, dict[str, float]], None]
STEPS_BETWEEN_NEWS = 10


def train(
    autoencoder: Autoencoder,
    training: TrainingSpec,
    images: TrainingImages,
    checkpoints: str | os.PathLike[str],
    progress: Progress = lambda step, steps, losses: None,
) -> None:
    """Trains an autoencoder, continuing from the last checkpoint if there is one.

    With the same seed, software, devices and number of threads, two runs give
    the same weights, interrupted or not. Runs on the devices of the
    `tf.distribute` strategy whose scope it is called in.

    Args:
      autoencoder: Freshly built, in the same scope.
      training: How to train it.
      images: What to train on.
      checkpoints: A directory for checkpoints of this one run.
      progress: Called with (step, steps, losses by name) after every tenth step.

    Raises:
      RequestError: The images do not fill a batch or are all alike, the start
        is dead, or the directory holds checkpoints of another run.
    """
    steps = count_steps(len(images), training)
    _claim(Path(checkpoints), autoencoder.spec, training, images)
    low, high = autoencoder.spec.image.pixel_range
    variance = variance_of(images) * ((high - low) / 255) ** 2
    if variance == 0:
        raise RequestError(
            "training: expected images that differ, got the same value in every pixel. "
            "Check the source."
        )
    step_function = TrainStep(autoencoder, training, variance, steps)
    done = tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(done=done, **step_function.tracked)
    manager = tf.train.CheckpointManager(state, str(checkpoints), max_to_keep=2)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint)

    for step, batch in _batches_ahead(images, int(done.numpy()), steps, training):
        losses = step_function(batch, step)
        if step == 0:
            check_first_step(autoencoder, batch, float(losses["gradient"]))
        step += 1
        done.assign(step)
        if step % STEPS_BETWEEN_NEWS == 0 or step == steps:
            progress(step, steps, {name: float(value) for name, value in losses.items()})
        if step % training.checkpoint_steps == 0 or step == steps:
            manager.save(checkpoint_number=step)
    step_function.finish()


def count_steps(images: int, training: TrainingSpec) -> int:
    """Returns the number of steps of a run over so many images.

    Raises:
      RequestError: They do not fill a batch, or the GPUs cannot share one evenly.
    """
    if images < training.batch_size:
        raise RequestError(
            f"training: expected at least one batch of {training.batch_size} images, "
            f"got {images}. Lower training.batch_size, or give more images."
        )
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if training.batch_size % replicas:
        raise RequestError(
            f"training.batch_size: expected a multiple of {replicas}, one share for each GPU, "
            f"got {training.batch_size}."
        )
    return images // training.batch_size * training.epochs


def _batches_ahead(
    images: TrainingImages, first: int, steps: int, training: TrainingSpec
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each step with its batch, which was made while the step before ran."""

    def make(step: int) -> np.ndarray:
        return batch_of_step(images, step, batch_size=training.batch_size, seed=training.seed)

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as executor:
        waiting = [executor.submit(make, step) for step in range(first, min(first + 2, steps))]
        for step in range(first, steps):
            batch = waiting.pop(0).result()
            if step + 2 < steps:
                waiting.append(executor.submit(make, step + 2))
            yield step, batch


def _claim(
    directory: Path, spec: TokenizerSpec, training: TrainingSpec, images: TrainingImages
) -> None:
    """Marks the directory as this run's, or refuses it as another's."""
    run = {
        "tokenizer": spec.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "images": images.digest,
        "replicas": tf.distribute.get_strategy().num_replicas_in_sync,
    }
    marker = directory / "run.json"
    if marker.exists():
        other = json.loads(marker.read_text())
        for name, value in run.items():
            if other.get(name) != value:
                raise RequestError(
                    f"{directory}: expected checkpoints of this run, found those of another "
                    f"({name} differs). Remove the directory, or choose another output."
                )
        return
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps(run, indent=2) + "\n")
