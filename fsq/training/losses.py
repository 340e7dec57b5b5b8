"""Losses of an autoencoder, each scaled to be free of units, so that their weights compare."""

import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from fsq.errors import RequestError
from fsq.storage.path_expansion import looked_in
from fsq.training.config import AdversarialSpec, PerceptualSpec

FLAT_FROM = 3.0
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def reconstruction_loss(kind: str, variance: float) -> Loss:
    """Returns a function of decoded images and images [B, H, W, C], one loss per image [B].

    Args:
      kind: 'mse', divided by the variance, or 'l1', divided by the standard deviation.
      variance: Of the training images; the mean image has an 'mse' of 1.
    """
    if kind == "l1":
        deviation = variance**0.5
        return lambda decoded, images: _per_image(tf.abs(decoded - images)) / deviation
    return lambda decoded, images: _per_image(tf.square(decoded - images)) / variance


def saturation_loss(latents: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared excess of latents [B, ...] over +-3, one per image, [B].

    There tanh has 1 % of its slope left: the straight-through gradient of the
    other losses cannot bring a channel back, and its digit no longer changes.
    """
    return _per_image(tf.square(tf.nn.relu(tf.abs(latents) - FLAT_FROM)))


def perceptual_loss(spec: PerceptualSpec, image_shape: tuple[int, int, int]) -> Loss:
    """Returns a function of decoded images and images [B, H, W, C], one loss per image [B].

    The loss is the squared distance of a feature model's outputs, each divided
    by the mean square of the original's features.

    Raises:
      RequestError: The model cannot be loaded, or takes images of another shape.
    """
    model = _load_feature_model(spec, image_shape)

    def loss(decoded: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        found = keras.tree.flatten(model(decoded, training=False))
        wanted = keras.tree.flatten(model(images, training=False))
        total = 0.0
        for ours, theirs in zip(found, wanted, strict=True):
            ours, theirs = tf.cast(ours, tf.float32), tf.stop_gradient(tf.cast(theirs, tf.float32))
            scale = tf.reduce_mean(tf.square(theirs)) + 1e-8
            total += _per_image(tf.square(ours - theirs)) / scale
        return total / len(wanted)

    return loss


def build_discriminator(spec: AdversarialSpec, image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds a patch discriminator: images [B, H, W, C] -> scores [B, h, w, 1], real above 0."""
    x = inputs = keras.Input(image_shape, name="images")
    for stage, width in enumerate(spec.widths):
        x = layers.Conv2D(width, 4, strides=2, padding="same", name=f"down_{stage}")(x)
        if stage:
            x = layers.GroupNormalization(1, name=f"norm_{stage}")(x)
        x = layers.LeakyReLU(0.2, name=f"relu_{stage}")(x)
    scores = layers.Conv2D(1, 4, padding="same", name="scores", dtype="float32")(x)
    return keras.Model(inputs, scores, name="discriminator")


def discriminator_loss(real: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of the scores of real and decoded images, one per image, [B]."""
    return _per_image(tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + decoded)) / 2


def _per_image(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=list(range(1, len(values.shape))))


def _load_feature_model(spec: PerceptualSpec, image_shape: tuple[int, int, int]) -> Any:
    where = "training.perceptual.model"
    if not os.path.exists(spec.model):
        raise RequestError(
            f"{where}: expected a .keras file, found none at {spec.model}{looked_in(spec.model)}."
        )
    try:
        # Safe mode: a file cannot bring code of its own.
        model = keras.saving.load_model(spec.model, compile=False, safe_mode=True)
        model.compute_output_spec(keras.KerasTensor((1, *image_shape)))
    except Exception as error:  # Keras raises errors of many types here
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"{where}: expected a Keras model of images {list(image_shape)}, "
            f"got {spec.model}: {reason}"
        ) from error
    model.trainable = False
    return model
