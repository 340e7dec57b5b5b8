"""One step of training, and one batch of validation."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from examples.prior.config import TrainingSpec
from examples.prior.model import Prior
from examples.prior.objectives import Question
from examples.prior.vocabulary import Mode

Questions = Mapping[Mode, Question]


class TrainStep:
    """Makes one step; the losses of the step come back.

    Args:
      prior: What to train.
      training: How.

    Attributes:
      optimizer: Its state belongs into a checkpoint.
    """

    def __init__(self, prior: Prior, training: TrainingSpec):
        self._prior, self._clip_norm = prior, training.clip_norm
        self._variables = prior.trainable_variables
        # Muon for the matrices of the blocks; Adam, without decay, for all that is none
        # or has one row for each thing: biases, normalisations, tables, positions.
        self.optimizer = keras.optimizers.Muon(
            _schedule(training),
            weight_decay=training.weight_decay,
            adam_beta_2=0.98,
            adam_weight_decay=None,
            exclude_layers=["table", "positions"],
            name="optimizer",
        )
        self.optimizer.build(self._variables)
        self._run = tf.function(self._step, autograph=False)
        self._measure = tf.function(self._sums, autograph=False)

    def __call__(self, questions: Questions) -> dict[str, Any]:
        """Trains on one batch, asked in one mode or several.

        Returns:
          By mode the loss, in nats per token, before the step; 'loss', their sum; 'norm',
          of the gradients before they were clipped.
        """
        figures: dict[str, Any] = self._run(_as_tensors(questions))
        return figures

    def measure(self, questions: Questions) -> dict[Mode, tuple[float, float]]:
        """Returns by mode the sum of weighted nats of a batch, and the sum of weights."""
        sums = self._measure(_as_tensors(questions))
        return {mode: (float(nats), float(weight)) for mode, (nats, weight) in sums.items()}

    def _step(self, questions: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            sums = self._sums(questions, training=True)
            losses = {mode: nats / (weight + 1e-9) for mode, (nats, weight) in sums.items()}
            loss = tf.add_n(list(losses.values()))
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        gradients, norm = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.optimizer.apply(gradients, self._variables)
        by_mode: dict[str, Any] = dict(losses.items())
        return {**by_mode, "loss": loss, "norm": norm}

    def _sums(self, questions: Any, training: bool = False) -> dict[Mode, tuple[Any, Any]]:
        found = {}
        for mode, (shown, wanted, weight) in questions.items():
            logits = self._prior(shown, mode=mode, training=training)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits)
            found[mode] = ops.sum(nats * weight), ops.sum(weight)
        return found


def _as_tensors(questions: Questions) -> dict[Mode, tuple[Any, ...]]:
    return {mode: tuple(map(tf.constant, question)) for mode, question in questions.items()}


def _schedule(training: TrainingSpec) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup_steps = min(training.warmup_steps, training.steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else training.learning_rate,
        decay_steps=max(1, training.steps - warmup_steps),
        warmup_target=training.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
