"""A small image classifier; its features are those of the Frechet distances."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

FEATURES = 64


def train_classifier(
    images: np.ndarray, labels: np.ndarray, classes: int, *, epochs: int, seed: int = 0
) -> keras.Model:
    """Trains a classifier on real images.

    Args:
      images: uint8 [N, H, W, C].
      labels: Integers in [0, classes), shape [N].
      classes: Number of classes.
      epochs: Training epochs.
      seed: Seed of the weights, the order and dropout.
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(images.shape[1:])
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for width in (32, 64, 128):
        for stride in (1, 2):
            x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(FEATURES, activation="relu", name="features")(x)
    x = layers.Dropout(0.3)(x)
    model = keras.Model(inputs, layers.Dense(classes, name="logits")(x))
    batch_size = min(128, len(images))
    steps = epochs * -(-len(images) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=batch_size, epochs=epochs, verbose=0)
    return model


class Predictions(NamedTuple):
    """Features, float64 [N, FEATURES], and predicted classes, int64 [N], of N images."""

    features: np.ndarray
    classes: np.ndarray


class Classifier:
    """A trained classifier that returns features and classes at once.

    Args:
      model: From `train_classifier`.
    """

    def __init__(self, model: keras.Model):
        features = model.get_layer("features").output
        self._model = keras.Model(model.inputs, [features, model.output])

    def predict(self, images: np.ndarray) -> Predictions:
        """Classifies images, uint8 [N, H, W, C]."""
        found: Any = self._model.predict(images, batch_size=256, verbose=0)
        features, logits = found
        return Predictions(features.astype(np.float64), logits.argmax(axis=1))
