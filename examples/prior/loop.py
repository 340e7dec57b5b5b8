"""The training loop: steps, validation and checkpoints; a resumed run is bit-exact."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from examples.prior.checkpoint import (
    best_nats,
    restore_checkpoint,
    save_checkpoint,
    save_network,
)
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData, Sequences
from examples.prior.model import Prior
from examples.prior.objectives import (
    ModeBatch,
    drop_classes,
    training_batch,
    validation_batch,
)
from examples.prior.step import TrainStep
from examples.prior.vocabulary import Mode, Vocabulary
from fsq.errors import DataError
from fsq.training.interruption import held_interrupts

Losses = dict[str, float]
# Called after every tenth step, with the number of steps done and the last step's losses.
Progress = Callable[[int, Losses], None]
# Called after a validation, with the number of steps done and the nats per token of each mode.
Validated = Callable[[int, dict[Mode, float]], None]
STEPS_BETWEEN_REPORTS = 10


def train(
    prior: Prior,
    data: PriorData,
    config: PriorConfig,
    *,
    progress: Progress = lambda step, losses: None,
    validated: Validated = lambda step, nats: None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Trains a prior, continuing from the last checkpoint if there is one.

    With the same seed, software, devices and number of threads, two runs give the same
    weights, interrupted or not. The network with the lowest held-out loss is saved too. (A
    run that ends by `minutes` is validated once more, and may save that network.)

    Args:
      prior: Freshly built.
      data: What to train and to validate on.
      config: The run; its output directory has been claimed.
      progress: Called with the losses.
      validated: Called after every validation, when the best network has been saved.
      clock: Returns seconds, for the time limit.

    Returns:
      The number of steps done: all of them, unless the time limit was reached first.

    Raises:
      RequestError: All checkpoints are damaged.
      DataError: The loss is not finite.
      KeyboardInterrupt: SIGINT or SIGTERM came; says which step is saved.
    """
    training, output = config.training, config.output
    step_function = TrainStep(prior, training)
    # With the state of dropout's random generators, which changes in every step.
    state = {"network": prior.variables, "optimizer": step_function.optimizer.variables}
    step, seconds = restore_checkpoint(output, state)
    best = best_nats(output)
    began = clock() - seconds
    limit = math.inf if training.minutes is None else 60 * training.minutes
    if step >= training.steps or seconds >= limit:
        return step
    with held_interrupts() as is_interrupted:
        for batch in data.training_batches(step):
            losses = step_function(_batches_of_step(batch, step, data.vocabulary, config))
            step += 1
            seconds = clock() - began
            last, stops = step == training.steps or seconds >= limit, is_interrupted()
            if step % STEPS_BETWEEN_REPORTS == 0 or last or stops:
                progress(step, _finite_losses(losses, step))
            if step % training.validation_steps == 0 or last:
                nats = validate(step_function, data, config, limit=training.validation_images)
                best = _save_if_best(output, prior, step, nats, best)
                validated(step, nats)
            if step % training.checkpoint_steps == 0 or last or stops:
                save_checkpoint(output, state, step, clock() - began)
            if stops:
                raise KeyboardInterrupt(f"step {step:,} of {training.steps:,} is saved")
            if last:
                break
    return step


def _batches_of_step(
    batch: Sequences, step: int, vocabulary: Vocabulary, config: PriorConfig
) -> dict[Mode, ModeBatch]:
    """Makes the batch of each mode; its random numbers follow from (seed, step)."""
    random = np.random.default_rng((config.training.seed, step))
    sequences = drop_classes(batch.tokens, vocabulary, config.training.class_dropout, random)
    return {
        mode: training_batch(sequences, batch.counted, mode, vocabulary, random)
        for mode in config.modes
    }


def _finite_losses(losses: Mapping[str, Any], step: int) -> Losses:
    """Returns the losses as numbers; raises a DataError if their sum is not finite."""
    found = {name: float(value) for name, value in losses.items()}
    if not math.isfinite(found["loss"]):
        raise DataError(
            f"training: step {step:,}: expected a finite loss, got {found['loss']}. Lower "
            "training.learning_rate, and train again in another output directory."
        )
    return found


def _save_if_best(
    output: str, prior: Prior, step: int, nats: Mapping[Mode, float], best: float
) -> float:
    """Saves the network if its mean loss is the lowest; returns the lowest so far."""
    mean = sum(nats.values()) / len(nats)
    if mean <= best:  # equal where a resumed run reaches the same step again
        save_network(output, prior, step=step, nats=mean)
        return mean
    return best


def validate(
    step_function: TrainStep, data: PriorData, config: PriorConfig, *, limit: int | None = None
) -> dict[Mode, float]:
    """Returns the nats per token of each mode on held-out images, at most `limit` of them.

    For mode 'causal' they are the negative log-likelihood; for mode 'masked', an upper
    bound of it.
    """
    sums: dict[Mode, np.ndarray[Any, Any]] = {mode: np.zeros(2) for mode in config.modes}
    for number, batch in enumerate(data.held_out_batches(limit)):
        by_mode = {
            mode: validation_batch(batch.tokens, batch.counted, mode, data.vocabulary, number)
            for mode in config.modes
        }
        for mode, found in step_function.measure(by_mode).items():
            sums[mode] += found
    return {mode: float(nats / weight) for mode, (nats, weight) in sums.items()}
