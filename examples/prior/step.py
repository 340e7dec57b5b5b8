"""One training step, and the loss of one validation batch."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from examples.prior.config import TrainingSpec
from examples.prior.model import Prior
from examples.prior.objectives import ModeBatch
from examples.prior.vocabulary import Mode

ModeBatches = Mapping[Mode, ModeBatch]


class TrainStep:
    """Runs training steps and returns their losses.

    Args:
      prior: The network to train.
      training: The training options.

    Attributes:
      optimizer: Its variables belong in a checkpoint.
    """

    def __init__(self, prior: Prior, training: TrainingSpec):
        self._prior, self._clip_norm = prior, training.clip_norm
        self._variables = prior.trainable_variables
        # Muon for the matrices of the blocks; Adam without weight decay for the rest: biases,
        # normalisations, embedding tables, positions.
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

    def __call__(self, batches: ModeBatches) -> dict[str, Any]:
        """Trains on one batch for each mode.

        Returns:
          For each mode, the loss before the step, in nats per token; 'loss', their sum;
          'norm', the norm of the gradients before clipping.
        """
        figures: dict[str, Any] = self._run(_as_tensors(batches))
        return figures

    def measure(self, batches: ModeBatches) -> dict[Mode, tuple[float, float]]:
        """Returns for each mode the weighted sum of nats of a batch, and the sum of weights."""
        sums = self._measure(_as_tensors(batches))
        return {mode: (float(nats), float(weight)) for mode, (nats, weight) in sums.items()}

    def _step(self, batches: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            sums = self._sums(batches, training=True)
            losses = {mode: nats / (weight + 1e-9) for mode, (nats, weight) in sums.items()}
            loss = tf.add_n(list(losses.values()))
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        gradients, norm = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.optimizer.apply(gradients, self._variables)
        by_mode: dict[str, Any] = dict(losses.items())
        return {**by_mode, "loss": loss, "norm": norm}

    def _sums(self, batches: Any, training: bool = False) -> dict[Mode, tuple[Any, Any]]:
        found = {}
        for mode, (inputs, targets, weights) in batches.items():
            logits = self._prior(inputs, mode=mode, training=training)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            found[mode] = ops.sum(nats * weights), ops.sum(weights)
        return found


def _as_tensors(batches: ModeBatches) -> dict[Mode, tuple[Any, ...]]:
    return {mode: tuple(map(tf.constant, batch)) for mode, batch in batches.items()}


def _schedule(training: TrainingSpec) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup_steps = min(training.warmup_steps, training.steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else training.learning_rate,
        decay_steps=max(1, training.steps - warmup_steps),
        warmup_target=training.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
