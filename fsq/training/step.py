"""The training step: losses, gradients and updates, on one device or several."""

from typing import Any

import keras
import tensorflow as tf

from fsq.models.autoencoder import Autoencoder, pixels_to_floats
from fsq.training.config import TrainingSpec
from fsq.training.losses import (
    build_discriminator,
    discriminator_loss,
    perceptual_loss,
    reconstruction_loss,
    saturation_loss,
)


class TrainStep:
    """One training step, compiled.

    Runs in the `tf.distribute` strategy in whose scope it and the autoencoder
    are made. Replicas share the batch, and losses are means over the whole
    batch: the number of devices changes only the order of sums.

    Args:
      autoencoder: What to train.
      training: Hyperparameters.
      variance: Of the training images, in the pixel range.
      steps: Length of the run, for the learning rate's schedule.

    Attributes:
      tracked: The objects of a checkpoint, by name.

    Raises:
      RequestError: The feature model of the perceptual loss cannot be used.
    """

    def __init__(
        self, autoencoder: Autoencoder, training: TrainingSpec, variance: float, steps: int
    ):
        self._autoencoder, self._training = autoencoder, training
        self._strategy = tf.distribute.get_strategy()
        self._reconstruction = reconstruction_loss(training.loss, variance)
        shape = autoencoder.spec.image.shape
        self._perceptual = (
            perceptual_loss(training.perceptual, shape) if training.perceptual else None
        )
        models = (autoencoder.encoder, autoencoder.decoder)
        self._variables = [v for model in models for v in model.trainable_variables]
        self._optimizer = _optimizer(training, _schedule(training, steps), self._variables)
        self.tracked: dict[str, Any] = {
            "encoder": autoencoder.encoder,
            "decoder": autoencoder.decoder,
            "quantizer": autoencoder.quantizer,
            "optimizer": self._optimizer,
        }
        self._discriminator = None
        if training.adversarial:
            self._discriminator = build_discriminator(training.adversarial, shape)
            self._critic = keras.optimizers.Adam(training.adversarial.learning_rate, beta_1=0.5)
            self._critic.build(self._discriminator.trainable_variables)
            self.tracked |= {"discriminator": self._discriminator, "critic": self._critic}
        self._run = tf.function(self._run_replicas, autograph=False)

    def __call__(self, pixels: Any, step: int) -> dict[str, tf.Tensor]:
        """Trains on one batch.

        Args:
          pixels: uint8, shape [batch_size, H, W, C].
          step: The number of this step, from 0.

        Returns:
          The losses by name, their weighted sum as 'loss', and the norm of the
          encoder's gradient as 'gradient'.
        """
        count = self._strategy.num_replicas_in_sync
        if count == 1:
            shares = tf.constant(pixels)
        else:
            size = len(pixels) // count
            shares = self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(
                    pixels[context.replica_id_in_sync_group * size :][:size]
                )
            )
        return self._run(shares, tf.constant(step))

    def finish(self) -> None:
        """Replaces the weights by their moving average, if there is one."""
        self._optimizer.finalize_variable_values(self._variables)

    def _run_replicas(self, pixels: Any, step: tf.Tensor) -> dict[str, tf.Tensor]:
        losses = self._strategy.run(self._replica_step, args=(pixels, step))
        return {
            name: self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in losses.items()
        }

    def _replica_step(self, pixels: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        scale = self._optimizer.scale_loss(1.0)
        with tf.GradientTape() as tape:
            images, decoded, losses = self._losses(pixels, step)
            means = {name: tf.reduce_mean(value) for name, value in losses.items()}
            scaled = means["loss"] * scale
        gradients = tape.gradient(scaled, [variable.value for variable in self._variables])
        self._apply(self._optimizer, gradients, self._variables, self._training.clip_norm * scale)
        of_encoder = gradients[: len(self._autoencoder.encoder.trainable_variables)]
        means["gradient"] = tf.linalg.global_norm(of_encoder) / scale
        if self._discriminator is not None:
            means["discriminator"] = self._train_discriminator(images, decoded, step)
        return means

    def _losses(
        self, pixels: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """Returns images, decoded images [B, H, W, C], and losses [B] or [] by name."""
        autoencoder, training = self._autoencoder, self._training
        images = pixels_to_floats(pixels, autoencoder.spec.image)
        latents = autoencoder.encoder(images, training=True)
        decoded = autoencoder.decoder(autoencoder.quantizer(latents, training=True), training=True)
        losses: dict[str, tf.Tensor] = {training.loss: self._reconstruction(decoded, images)}
        total = losses[training.loss]
        for loss in autoencoder.quantizer.losses:
            total += loss
        if training.saturation_weight:
            losses["saturation"] = saturation_loss(latents)
            total += training.saturation_weight * losses["saturation"]
        if self._perceptual and training.perceptual:
            losses["perceptual"] = self._perceptual(decoded, images)
            total += training.perceptual.weight * losses["perceptual"]
        if self._discriminator is not None and training.adversarial:
            scores = self._discriminator(decoded, training=True)
            losses["adversarial"] = -tf.reduce_mean(scores, axis=[1, 2, 3])
            active = tf.cast(step >= training.adversarial.start_step, tf.float32)
            total += training.adversarial.weight * active * losses["adversarial"]
        return images, decoded, losses | {"loss": total}

    def _train_discriminator(
        self, images: tf.Tensor, decoded: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        assert self._discriminator is not None and self._training.adversarial is not None
        variables = self._discriminator.trainable_variables
        with tf.GradientTape() as tape:
            real = self._discriminator(images, training=True)
            fake = self._discriminator(tf.stop_gradient(decoded), training=True)
            loss = tf.reduce_mean(discriminator_loss(real, fake))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        active = tf.cast(step >= self._training.adversarial.start_step, tf.float32)
        gradients = [gradient * active for gradient in gradients]
        self._apply(self._critic, gradients, variables, self._training.clip_norm)
        return loss

    def _apply(self, optimizer: Any, gradients: list[Any], variables: Any, clip_norm: Any) -> None:
        """Clips the mean gradients of all replicas, as on one device, and applies them."""
        context = tf.distribute.get_replica_context()
        count = context.num_replicas_in_sync
        if count > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        # Keras sums the gradients of all replicas again.
        optimizer.apply(
            [tf.clip_by_norm(gradient, clip_norm) / count for gradient in gradients], variables
        )


class _Adam(keras.optimizers.Adam):
    """Adam whose moving average of the weights follows them closely in the first steps.

    With a constant momentum m it would hold the initial weights for some 1 / (1 - m)
    steps. So the momentum rises to m, as (1 + step) / (10 + step).

    Source: `num_updates` of tf.train.ExponentialMovingAverage.
    """

    @property
    def ema_momentum(self) -> Any:
        step = tf.cast(self.iterations, tf.float32)
        return tf.minimum(self._last_momentum, (1 + step) / (10 + step))

    @ema_momentum.setter
    def ema_momentum(self, momentum: float) -> None:
        self._last_momentum = momentum


def _optimizer(training: TrainingSpec, schedule: Any, variables: list[Any]) -> Any:
    average = {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}
    optimizer = _Adam(schedule, name="adam", **average)
    if training.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def _schedule(
    training: TrainingSpec, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup_steps = min(training.warmup_steps, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else training.learning_rate,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=training.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
