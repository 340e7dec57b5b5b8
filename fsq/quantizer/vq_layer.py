"""VQ layer: vector quantization with the interface of the FSQ layer, for comparison.

Source: van den Oord et al. 2017, arXiv:1711.00937; the codebook's moving
averages are those of its appendix A.1.
"""

from typing import Any

import keras
from keras import ops

from fsq.quantizer.lattice import token_dtype
from fsq.quantizer.layer_base import QuantizerLayer, layer_method

__all__ = ["VQ"]


@keras.saving.register_keras_serializable(package="fsq")
class VQ(QuantizerLayer):
    """Replaces each latent by the nearest of `codebook_size` learned codes.

    The gradient is straight-through. In training the codes are moving averages of
    the latents nearest to them, and the commitment loss `beta * |z - code|^2` is
    added to `losses`. Dead codes are not reset.

    Args:
      codebook_size: Number of codes.
      num_dimensions: Channels of a latent, D.
      beta: Weight of the commitment loss.
      decay: Decay of the moving averages.
      seed: Seed of the initial codes.
    """

    def __init__(
        self,
        codebook_size: int,
        num_dimensions: int,
        *,
        beta: float = 0.25,
        decay: float = 0.99,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.codebook_size, self.num_dimensions = codebook_size, num_dimensions
        self.beta, self.decay, self.seed = beta, decay, seed

    def build(self, input_shape: Any) -> None:
        """Adds the codebook and its moving averages."""
        shape = (self.codebook_size, self.num_dimensions)
        first = keras.initializers.RandomNormal(1.0, seed=self.seed)
        frozen: dict[str, Any] = {"trainable": False, "dtype": "float32"}
        self.codebook = self.add_weight(name="codebook", shape=shape, initializer=first, **frozen)
        self._sums = self.add_weight(name="sums", shape=shape, initializer="zeros", **frozen)
        self._sums.assign(self.codebook)
        self._counts = self.add_weight(name="counts", shape=shape[:1], initializer="ones", **frozen)
        super().build(input_shape)

    def latents_shape(self) -> tuple[int | None, ...]:
        """Returns the shape of a batch of latents, [None, D]."""
        return None, self.num_dimensions

    def quantize_latents(self, z: Any, training: bool | None) -> Any:
        """Quantizes latents [..., D] to codes [..., D]."""
        z = ops.cast(z, "float32")
        indices = self._nearest(z)
        if training:
            self._follow(z, indices)
        codes = ops.stop_gradient(self._codes_of(indices))
        self.add_loss(self.beta * ops.mean(ops.square(z - codes)))
        return z + ops.stop_gradient(codes - z)

    @layer_method
    def latents_to_indices(self, z: Any) -> Any:
        """Converts latents [..., D] to the tokens [...] of the nearest codes; NaN gives -1."""
        return self._nearest(ops.cast(z, "float32"))

    @layer_method
    def indices_to_codes(self, indices: Any) -> Any:
        """Converts tokens [...] in [0, codebook_size) to codes [..., D]."""
        return self._codes_of(indices)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "num_dimensions": self.num_dimensions,
            "beta": self.beta,
            "decay": self.decay,
            "seed": self.seed,
        }

    def _nearest(self, z: Any) -> Any:
        self.build_once()
        # |z - c|^2 without |z|^2, which is the same for every code.
        distances = ops.subtract(
            ops.sum(ops.square(self.codebook), axis=1),
            2 * ops.matmul(z, ops.transpose(self.codebook)),
        )
        dtype = token_dtype(self.codebook_size)
        indices = ops.cast(ops.argmin(distances, axis=-1), dtype)
        return ops.where(ops.any(ops.isnan(z), axis=-1), ops.cast(-1, dtype), indices)

    def _codes_of(self, indices: Any) -> Any:
        self.build_once()
        return ops.take(self.codebook, indices, axis=0)

    def _follow(self, z: Any, indices: Any) -> None:
        flat = ops.reshape(ops.stop_gradient(z), (-1, self.num_dimensions))
        chosen = ops.reshape(indices, (-1,))
        counts = ops.segment_sum(ops.ones_like(flat[:, 0]), chosen, self.codebook_size)
        sums = ops.segment_sum(flat, chosen, self.codebook_size)
        rest = 1.0 - self.decay
        self._counts.assign(self._counts * self.decay + counts * rest)
        self._sums.assign(self._sums * self.decay + sums * rest)
        # Sums and counts decay alike, so an unused code stays where it is; below 1e-6 it is no
        # longer updated, before both reach 0.
        alive = ops.expand_dims(self._counts > 1e-6, 1)
        means = self._sums / ops.expand_dims(ops.maximum(self._counts, 1e-6), 1)
        self.codebook.assign(ops.where(alive, means, self.codebook))
