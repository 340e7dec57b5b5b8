"""The training loop: batches in order, steps, validation, checkpoints; a resumed run is exact."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from examples.prior.checkpoint import (
    best_nats,
    restore_checkpoint,
    save_checkpoint,
    save_network,
)
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData
from examples.prior.model import Prior
from examples.prior.objectives import drop_classes, training_question, validation_question
from examples.prior.step import TrainStep
from examples.prior.vocabulary import Mode
from fsq.errors import DataError

Losses = dict[str, float]
# Called with the steps done and the losses of the last: after every tenth.
Progress = Callable[[int, Losses], None]
# Called with the steps done and the validation's nats per token by mode.
Validated = Callable[[int, dict[Mode, float]], None]
STEPS_BETWEEN_NEWS = 10


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

    With the same seed, software, devices and number of threads, two runs give the
    same weights, interrupted or not. The network that does best on the held-out
    images is kept beside the checkpoints. (A run that its minutes end is validated
    once more there, and may keep that network.)

    Args:
      prior: Freshly built.
      data: What to train and to measure on.
      config: The run; its output is marked as its own.
      progress: Hears of the losses.
      validated: Hears of every validation, after the network was kept.
      clock: Seconds, for the limit of minutes.

    Returns:
      How many steps are done: all of them, unless the minutes were over before.

    Raises:
      RequestError: All checkpoints are damaged.
      DataError: The loss is not finite any more.
    """
    training, output = config.training, config.output
    step_function = TrainStep(prior, training)
    # With the seeds of dropout, which change from step to step.
    state = {"network": prior.variables, "optimizer": step_function.optimizer.variables}
    step, seconds = restore_checkpoint(output, state)
    best = best_nats(output)
    began = clock() - seconds
    limit = math.inf if training.minutes is None else 60 * training.minutes
    if step >= training.steps or seconds >= limit:
        return step
    for batch in data.training_batches(step):
        random = np.random.default_rng((training.seed, step))
        sequences = drop_classes(batch.tokens, data.vocabulary, training.class_dropout, random)
        questions = {
            mode: training_question(sequences, batch.counted, mode, data.vocabulary, random)
            for mode in config.modes
        }
        losses = step_function(questions)
        step += 1
        seconds = clock() - began
        last = step == training.steps or seconds >= limit
        if step % STEPS_BETWEEN_NEWS == 0 or last:
            news = {name: float(value) for name, value in losses.items()}
            if not math.isfinite(news["loss"]):
                raise DataError(
                    f"training: step {step:,}: expected a finite loss, got {news['loss']}. Lower "
                    "training.learning_rate, and remove the output if it comes back."
                )
            progress(step, news)
        if step % training.validation_steps == 0 or last:
            nats = validate(step_function, data, config, limit=training.validation_images)
            mean = sum(nats.values()) / len(nats)
            if mean <= best:  # equal: a resumed run has come to the same place again
                best = mean
                save_network(output, prior, step=step, nats=mean)
            validated(step, nats)
        if step % training.checkpoint_steps == 0 or last:
            save_checkpoint(output, state, step, clock() - began)
        if last:
            break
    return step


def validate(
    step_function: TrainStep, data: PriorData, config: PriorConfig, *, limit: int | None = None
) -> dict[Mode, float]:
    """Returns the nats per token on held-out images, at most `limit`, by mode.

    Those of mode 'causal' are the negative log-likelihood; those of mode 'masked'
    bound it from above.
    """
    sums: dict[Mode, np.ndarray[Any, Any]] = {mode: np.zeros(2) for mode in config.modes}
    for number, batch in enumerate(data.held_out_batches(limit)):
        questions = {
            mode: validation_question(batch.tokens, batch.counted, mode, data.vocabulary, number)
            for mode in config.modes
        }
        for mode, found in step_function.measure(questions).items():
            sums[mode] += found
    return {mode: float(nats / weight) for mode, (nats, weight) in sums.items()}
