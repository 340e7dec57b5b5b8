"""The training loop, with checkpoints from which a run resumes bit for bit."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from fsq.errors import DataError, RequestError
from fsq.models.autoencoder import Autoencoder
from fsq.training.config import TrainingSpec
from fsq.training.data import TrainingImages, count_steps
from fsq.training.init_check import check_first_step
from fsq.training.interruption import held_interrupts
from fsq.training.run_guard import describe_run, find_checkpoints, guard_run
from fsq.training.step import TrainStep
from fsq.training.variance import estimate_variance

Progress = Callable[[int, int, dict[str, float]], None]
STEPS_BETWEEN_REPORTS = 10


def train(
    autoencoder: Autoencoder,
    training: TrainingSpec,
    images: TrainingImages,
    checkpoints: str | os.PathLike[str],
    progress: Progress = lambda step, steps, losses: None,
) -> None:
    """Trains an autoencoder, from the last checkpoint on if there is one.

    With the same seed, software, devices and number of threads, two runs give
    the same weights, interrupted or not. Runs on the devices of the
    `tf.distribute` strategy in whose scope it is called. SIGINT and SIGTERM
    let the step end, and save a checkpoint.

    Args:
      autoencoder: Freshly built, in the same scope.
      training: Hyperparameters.
      images: What to train on.
      checkpoints: A directory for the checkpoints of this run alone.
      progress: Called with (step, steps, losses by name) after every tenth step.

    Raises:
      RequestError: The images do not fill a batch or have one colour, the init
        check fails, or the checkpoints are another run's or damaged.
      DataError: The loss is not finite, or an image cannot be read.
      KeyboardInterrupt: The run was interrupted; says which step is saved.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    steps = count_steps(len(images), training, replicas=replicas)
    run = describe_run(autoencoder.spec, training)
    guard_run(Path(checkpoints), {**run, "images": images.digest, "replicas": replicas})
    variance = estimate_variance(images, autoencoder.spec.image)
    step_function = TrainStep(autoencoder, training, variance, steps)
    done = tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(done=done, **step_function.tracked)
    manager = tf.train.CheckpointManager(state, str(checkpoints), max_to_keep=2)
    _restore(state, Path(checkpoints))

    first = int(done.numpy())
    batches = images.batches(first, steps, batch_size=training.batch_size, seed=training.seed)
    with held_interrupts() as is_interrupted:
        for step, batch in enumerate(batches, first):
            losses = step_function(batch, step)
            if step == 0:
                check_first_step(autoencoder, batch, float(losses["gradient"]))
            step += 1
            done.assign(step)
            stops = is_interrupted()
            last = stops or step == steps
            if step % STEPS_BETWEEN_REPORTS == 0 or last:
                progress(step, steps, _finite_means(losses, step))
            if step % training.checkpoint_steps == 0 or last:
                manager.save(checkpoint_number=step)
            if stops:
                raise KeyboardInterrupt(f"step {step:,} of {steps:,} is saved")
    step_function.finish()


def _finite_means(losses: Mapping[str, Any], step: int) -> dict[str, float]:
    """Returns the losses as numbers; raises a DataError if their sum is not finite."""
    means = {name: float(value) for name, value in losses.items()}
    if not math.isfinite(means["loss"]):
        raise DataError(
            f"training: step {step:,}: expected a finite loss, got {means['loss']}. Lower "
            "training.learning_rate, and remove the checkpoints if it comes back."
        )
    return means


def _restore(state: Any, directory: Path) -> None:
    """Restores the newest checkpoint that can be read, if there is one."""
    found = find_checkpoints(directory)
    for _, path in sorted(found.items(), reverse=True):
        try:
            state.restore(str(path))
            return
        # Which error a damaged file raises depends on where it is damaged.
        except (tf.errors.OpError, ValueError, IndexError, TypeError):
            continue
    if found:
        raise RequestError(
            f"{directory}: expected checkpoints that can be read, found {len(found)} damaged. "
            "Remove the directory to begin again."
        )
