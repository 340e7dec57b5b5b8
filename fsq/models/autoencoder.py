"""The autoencoder: encoder, quantizer and decoder, and its pixel range."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from fsq.errors import DataError
from fsq.images.spec import ImageSpec
from fsq.models.keras_backend import require_tensorflow
from fsq.models.networks import build_decoder, build_encoder
from fsq.quantizer.fsq_layer import FSQ
from fsq.spec.contract import TokenizerSpec


class Quantizer(Protocol):
    """The interface of `FSQ` that an autoencoder uses; another quantizer can replace it."""

    variables: list[Any]
    losses: list[Any]

    @property
    def num_dimensions(self) -> int:
        """Channels of a latent and of a code, D."""
        ...

    @property
    def codebook_size(self) -> int:
        """How many tokens there are."""
        ...

    def __call__(self, latents: Any, training: bool | None = None) -> Any:
        """Quantizes latents [..., D] to codes [..., D]."""
        ...

    def latents_to_indices(self, z: Any) -> Any:
        """Turns latents [..., D] into tokens [...]."""
        ...

    def indices_to_codes(self, indices: Any) -> Any:
        """Turns tokens [...] into codes [..., D]."""
        ...


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """Images -> latents -> codes -> images: two Keras models with a quantizer between them."""

    spec: TokenizerSpec
    encoder: keras.Model
    quantizer: Quantizer
    decoder: keras.Model

    def variables(self) -> Iterator[tuple[str, keras.Variable]]:
        """Yields every weight with its name, such as 'encoder/down_0/kernel'."""
        for model in (self.encoder, self.decoder):
            for variable in model.variables:
                yield f"{model.name}/{variable.path}", variable

    def weights(self) -> dict[str, np.ndarray]:
        """Returns a copy of every weight by name."""
        return {name: ops.convert_to_numpy(variable) for name, variable in self.variables()}

    def at_size(self, height: int, width: int) -> "Autoencoder":
        """Builds the same networks, with copies of the weights, for images of another size."""
        image = self.spec.image.resized(height, width)
        other = build_autoencoder(self.spec.model_copy(update={"image": image}))
        other.set_weights(self.weights())
        return other

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Sets every weight.

        Raises:
          DataError: A weight is missing, unexpected, or of another shape or type.
        """
        expected = dict(self.variables())
        if odd := sorted(expected.keys() ^ weights.keys()):
            raise DataError(
                f"weights: expected the {len(expected)} of the network, got {len(weights)}; "
                f"{odd[0]!r} is in only one of them. The weights belong to another network."
            )
        for name, variable in expected.items():
            if tuple(variable.shape) != weights[name].shape:
                raise DataError(
                    f"weights: expected shape {tuple(variable.shape)} for {name!r}, "
                    f"got {weights[name].shape}. The weights belong to another network."
                )
            if weights[name].dtype != variable.dtype:
                raise DataError(
                    f"weights: expected {variable.dtype} for {name!r}, got {weights[name].dtype}. "
                    "The weights belong to another network."
                )
        for name, variable in expected.items():
            variable.assign(weights[name])


def build_autoencoder(
    spec: TokenizerSpec,
    *,
    seed: int | None = None,
    precision: str = "float32",
    quantizer: Quantizer | None = None,
) -> Autoencoder:
    """Builds an autoencoder with initial weights.

    Args:
      spec: Image contract, lattice and networks.
      seed: Of the initial weights; Keras' current random state if None.
      precision: Keras policy of the networks. Latents, codes and images are always float32.
      quantizer: Instead of the FSQ of the spec.

    Raises:
      RequestError: Keras does not run on TensorFlow.
    """
    require_tensorflow()
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if quantizer is None:
        quantizer = FSQ(spec.levels, preset=spec.preset, eps=spec.eps, dtype="float32", name="fsq")
        quantizer.build((None, *spec.grid, quantizer.num_dimensions))
    channels = quantizer.num_dimensions
    with _policy(precision):
        encoder = build_encoder(spec.network, spec.image.shape, channels)
        decoder = build_decoder(spec.network, spec.grid, channels, spec.image.channels)
    return Autoencoder(spec=spec, encoder=encoder, quantizer=quantizer, decoder=decoder)


def pixels_to_floats(images: Any, spec: ImageSpec) -> Any:
    """Maps uint8 pixels to float32 in the pixel range, both ends included."""
    low, high = spec.pixel_range
    return ops.cast(images, "float32") * ((high - low) / 255) + low


def floats_to_pixels(images: Any, spec: ImageSpec) -> Any:
    """Maps floats to uint8 pixels, clipped and rounded; the inverse of `pixels_to_floats`."""
    low, high = spec.pixel_range
    scaled = (ops.cast(images, "float32") - low) * (255 / (high - low))
    return ops.cast(ops.round(ops.clip(scaled, 0, 255)), "uint8")


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Sets Keras' global policy and image layout while the layers of a model are built.

    A user's own ~/.keras/keras.json may set another image layout.
    """
    policy, layout = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy(name)
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)
