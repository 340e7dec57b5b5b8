"""Encoder and decoder networks: images to latents, codes to images.

No layer mixes the images of a batch, so tokens do not depend on the batch.
"""

import keras
from keras import layers, ops

from fsq.spec.network_spec import ConvNetwork, NetworkSpec, ResidualNetwork


def build_encoder(
    spec: NetworkSpec, image_shape: tuple[int, int, int], channels: int
) -> keras.Model:
    """Builds an encoder, images float32 [B, H, W, C] -> latents float32 [B, H/f, W/f, channels].

    The features are normalised before the last projection. Without it, Glorot
    initialisation makes latents so small that all round to the zero code, which
    passes no gradient back.
    """
    inputs = keras.Input(image_shape, name="images")
    match spec:
        case ConvNetwork():
            x = _encode_by_convolutions(spec, inputs)
        case ResidualNetwork():
            x = _encode_by_residuals(spec, inputs)
    # float32 under every policy: rounding a latent can change its token.
    latents = layers.Conv2D(channels, 1, name="latents", dtype="float32")(x)
    return keras.Model(inputs, latents, name="encoder")


def build_decoder(
    spec: NetworkSpec, grid: tuple[int, int], code_channels: int, image_channels: int
) -> keras.Model:
    """Builds a decoder, codes float32 [B, rows, columns, D] -> images float32 [B, H, W, C]."""
    inputs = keras.Input((*grid, code_channels), name="codes")
    match spec:
        case ConvNetwork():
            x = _decode_by_convolutions(spec, inputs)
        case ResidualNetwork():
            x = _decode_by_residuals(spec, inputs)
    images = layers.Conv2D(image_channels, 3, padding="same", name="images", dtype="float32")(x)
    return keras.Model(inputs, images, name="decoder")


def _encode_by_convolutions(spec: ConvNetwork, x: keras.KerasTensor) -> keras.KerasTensor:
    for stage, width in enumerate(spec.encoder_widths):
        x = layers.Conv2D(
            width, 4, strides=2, padding="same", activation="relu", name=f"down_{stage}"
        )(x)
    for block in range(spec.encoder_blocks):
        x = _relu_block(x, f"block_{block}")
    return layers.LayerNormalization(name="norm")(x)


def _decode_by_convolutions(spec: ConvNetwork, x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.Conv2D(spec.decoder_widths[0], 3, padding="same", name="expand")(x)
    for block in range(spec.decoder_blocks):
        x = _relu_block(x, f"block_{block}")
    x = layers.ReLU(name="activation")(x)
    for stage, width in enumerate((*spec.decoder_widths[1:], spec.decoder_widths[-1])):
        x = layers.Conv2DTranspose(
            width, 4, strides=2, padding="same", activation="relu", name=f"up_{stage}"
        )(x)
    return x


def _encode_by_residuals(spec: ResidualNetwork, x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.Conv2D(spec.widths[0], 3, padding="same", name="expand")(x)
    for stage, width in enumerate(spec.widths):
        if stage:
            x = layers.Conv2D(width, 3, strides=2, padding="same", name=f"down_{stage}")(x)
        for block in range(spec.blocks):
            x = _swish_block(spec, x, width, f"stage_{stage}_block_{block}")
    return _swish(spec, _middle(spec, x), "head")


def _decode_by_residuals(spec: ResidualNetwork, x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.Conv2D(spec.widths[-1], 3, padding="same", name="expand")(x)
    x = _middle(spec, x)
    for stage, width in reversed(list(enumerate(spec.widths))):
        for block in range(spec.blocks + 1):
            x = _swish_block(spec, x, width, f"stage_{stage}_block_{block}")
        if stage:
            x = layers.UpSampling2D(name=f"up_{stage}_repeat")(x)
            x = layers.Conv2D(width, 3, padding="same", name=f"up_{stage}")(x)
    return _swish(spec, x, "head")


def _middle(spec: ResidualNetwork, x: keras.KerasTensor) -> keras.KerasTensor:
    if not spec.attention:
        return x
    x = _swish_block(spec, x, spec.widths[-1], "middle_0")
    x = _attention(spec, x, "attention")
    return _swish_block(spec, x, spec.widths[-1], "middle_1")


def _relu_block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    width = x.shape[-1]
    y = layers.ReLU(name=f"{name}_relu_0")(x)
    y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"{name}_conv_0")(y)
    y = layers.Conv2D(width, 1, name=f"{name}_conv_1")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _swish_block(
    spec: ResidualNetwork, x: keras.KerasTensor, width: int, name: str
) -> keras.KerasTensor:
    y = _swish(spec, x, f"{name}_0")
    y = layers.Conv2D(width, 3, padding="same", name=f"{name}_0_conv")(y)
    y = _swish(spec, y, f"{name}_1")
    y = layers.Conv2D(width, 3, padding="same", name=f"{name}_1_conv")(y)
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1, name=f"{name}_shortcut")(x)
    return layers.Add(name=f"{name}_add")([x, y])


def _attention(spec: ResidualNetwork, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Self-attention with one head over all positions of the grid."""
    _, rows, columns, width = x.shape
    y = _normalise(spec, f"{name}_norm")(x)
    y = layers.Reshape((rows * columns, width), name=f"{name}_flat")(y)
    y = layers.MultiHeadAttention(1, width, name=name)(y, y)
    y = layers.Reshape((rows, columns, width), name=f"{name}_grid")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _swish(spec: ResidualNetwork, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = _normalise(spec, f"{name}_norm")(x)
    return layers.Activation(ops.silu, name=f"{name}_swish")(x)


def _normalise(spec: ResidualNetwork, name: str) -> keras.layers.Layer:
    if spec.norm == "layer":
        return layers.LayerNormalization(name=name)
    return layers.GroupNormalization(spec.groups, name=name)
