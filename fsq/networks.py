"""Encoders and decoders: images to latents, codes to images."""

import keras
from keras import layers

from fsq.contract import NetworkSpec


def build_encoder(
    spec: NetworkSpec, image_shape: tuple[int, int, int], channels: int
) -> keras.Model:
    """Builds images float32 [B, S, S, C] -> latents float32 [B, S / f, S / f, channels].

    The features are layer-normalised before the last projection: without it
    Glorot's latents are so small that every one rounds to the zero code, and
    a zero code passes no gradient back.
    """
    x = inputs = keras.Input(image_shape, name="images")
    for stage, width in enumerate(spec.encoder_widths):
        x = layers.Conv2D(
            width, 4, strides=2, padding="same", activation="relu", name=f"down_{stage}"
        )(x)
    for block in range(spec.encoder_blocks):
        x = _residual(x, f"block_{block}")
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Conv2D(channels, 1, name="latents")(x), name="encoder")


def build_decoder(
    spec: NetworkSpec, grid: tuple[int, int], code_channels: int, image_channels: int
):
    """Builds codes float32 [B, rows, columns, D] -> images float32 [B, S, S, C]."""
    x = inputs = keras.Input((*grid, code_channels), name="codes")
    x = layers.Conv2D(spec.decoder_widths[0], 3, padding="same", name="expand")(x)
    for block in range(spec.decoder_blocks):
        x = _residual(x, f"block_{block}")
    x = layers.ReLU(name="activation")(x)
    for stage, width in enumerate((*spec.decoder_widths[1:], spec.decoder_widths[-1])):
        x = layers.Conv2DTranspose(
            width, 4, strides=2, padding="same", activation="relu", name=f"up_{stage}"
        )(x)
    images = layers.Conv2D(image_channels, 3, padding="same", name="images")(x)
    return keras.Model(inputs, images, name="decoder")


def _residual(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    width = x.shape[-1]
    y = layers.ReLU(name=f"{name}_relu_0")(x)
    y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"{name}_conv_0")(y)
    y = layers.Conv2D(width, 1, name=f"{name}_conv_1")(y)
    return layers.Add(name=f"{name}_add")([x, y])
