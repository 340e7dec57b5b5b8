"""The FSQ layer: latents in, codes out; codes to tokens and back, exactly."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fsq import lattice
from fsq.ops import bound, check_preset, round_straight_through


@keras.saving.register_keras_serializable(package="fsq")
class FSQ(keras.layers.Layer):
    """Quantizes each channel of a latent to a few values (Finite Scalar Quantization).

    Bound and rounding are computed in float32 under every policy (float64 for
    float64), index arithmetic in integers. Codes leave in the compute dtype.

    Where values are concrete, bad ones raise. In a compiled graph nothing can
    raise, so they are marked instead of wrapped: latents or codes outside the
    lattice, NaN among them, give the token -1, and such a token decodes to NaN.

    Args:
      levels: Values per channel, length D, each in [3, 1001]. The paper's sets
        are [8, 6, 5] for 2^8 tokens, [8, 5, 5, 5] for 2^10, [7, 5, 5, 5, 5] for 2^12.
      preset: Bound preset, see `fsq.ops`: 'atanh' or 'official'.
      eps: Margin of the bound.

    Raises:
      ValueError: A bad level, preset or eps.

    Source: Mentzer et al. 2023, arXiv:2309.15505.

    >>> layer = FSQ(levels=[3, 5, 4], preset="official")
    >>> codes = layer(np.array([0.25, 0.6, -7.0], "float32"))
    >>> codes.numpy().tolist(), int(layer.codes_to_indices(codes))
    ([0.0, 0.5, -1.0], 10)
    """

    def __init__(
        self, levels: Sequence[int], *, preset: str = "atanh", eps: float = 1e-3, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.levels = lattice.check_levels(levels)
        self.preset = check_preset(preset, self.levels)
        if not 0 < eps <= 1e-3:
            raise ValueError(f"eps: expected a value in (0, 0.001], got {eps}.")
        self.eps = float(eps)

    @property
    def num_dimensions(self) -> int:
        """Channels of a code, D."""
        return len(self.levels)

    @property
    def codebook_size(self) -> int:
        """Number of tokens, the product of the levels."""
        return lattice.vocab_size(self.levels)

    @property
    def codebook(self) -> np.ndarray:
        """All codes, float32 [codebook_size, D]; made on demand, at most 2**24 of them."""
        return lattice.codebook(self.levels)

    def codebook_chunk(self, start: int, stop: int) -> np.ndarray:
        """Returns the codes of the tokens in [start, stop), float32 [stop - start, D]."""
        return lattice.codebook(self.levels, start, stop)

    def build(self, input_shape: Any) -> None:
        lattice.check_channels(input_shape, self.levels)
        super().build(input_shape)

    def call(self, z: Any) -> Any:
        """Quantizes latents [..., D] to codes [..., D] in [-1, 1]; NaN stays NaN."""
        # Again here, not only in build(): a single channel would be broadcast in silence.
        lattice.check_channels(z.shape, self.levels)
        steps = round_straight_through(self._bound(z))
        return ops.cast(steps / self._constant(self._halves(), steps.dtype), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def latents_to_indices(self, z: Any) -> Any:
        """Turns latents into tokens without the detour over codes.

        Args:
          z: Floats, shape [..., D].

        Returns:
          Integers in [0, codebook_size), shape [...]; int32 up to 2**31 - 1
          codes, else int64. A latent with a NaN in it gives -1.
        """
        z = ops.convert_to_tensor(z)
        lattice.check_channels(z.shape, self.levels)
        # What `layer(z)` would see: Keras casts a layer's input to the compute dtype.
        steps = ops.round(self._bound(ops.cast(z, self.compute_dtype)))
        return self._steps_to_indices(steps)

    def codes_to_indices(self, codes: Any) -> Any:
        """Turns codes into tokens.

        Args:
          codes: Floats on the lattice, shape [..., D], in any float type that
            can tell the levels apart.

        Returns:
          Integers in [0, codebook_size), shape [...]; see `latents_to_indices`.

        Raises:
          ValueError: A code is NaN or lies outside the lattice, the last
            dimension is not D, or the float type is too coarse for the levels.
        """
        codes = ops.convert_to_tensor(codes)
        lattice.check_channels(codes.shape, self.levels)
        self._check_precision(keras.backend.standardize_dtype(codes.dtype))
        codes = ops.cast(codes, _float_dtype(codes))
        indices = self._steps_to_indices(
            ops.round(codes * self._constant(self._halves(), codes.dtype))
        )
        concrete = _concrete(indices)
        if concrete is not None and (concrete < 0).any():
            raise ValueError(
                f"codes_to_indices: expected codes on the lattice of {list(self.levels)}, "
                f"got {int((concrete < 0).sum())} outside it or NaN."
            )
        return indices

    def indices_to_codes(self, indices: Any) -> Any:
        """Turns tokens into codes; the inverse of `codes_to_indices`.

        Args:
          indices: Integers in [0, codebook_size), shape [...].

        Returns:
          Codes in the compute dtype, shape [..., D]. In a compiled graph a
          token outside the range gives NaN.

        Raises:
          ValueError: A token outside the range, or not an integer.
        """
        return self.digits_to_codes(self.indices_to_digits(indices))

    def indices_to_digits(self, indices: Any) -> Any:
        """Splits tokens [...] into digits [..., D], digit d in [0, levels[d]).

        In a compiled graph a token outside the range gives the digits -1.

        Raises:
          ValueError: A token outside the range, or not an integer.
        """
        concrete = _concrete(indices)
        if concrete is not None:
            # Also keeps 64-bit tokens whole where the backend would convert them to 32.
            indices = lattice.check_tokens(concrete, self.codebook_size)
        indices = ops.convert_to_tensor(indices)
        if "int" not in keras.backend.standardize_dtype(indices.dtype):
            raise ValueError(f"tokens: expected integers, got {indices.dtype}.")
        indices = ops.expand_dims(ops.cast(indices, self._token_dtype()), -1)
        basis = self._constant(lattice.basis(self.levels), self._token_dtype())
        digits = (indices // basis) % self._constant(self.levels, self._token_dtype())
        valid = (indices >= 0) & (indices < self.codebook_size)
        return ops.cast(ops.where(valid, digits, -1), "int32")

    def digits_to_indices(self, digits: Any) -> Any:
        """Joins digits [..., D] into tokens [...]; the inverse of `indices_to_digits`.

        In a compiled graph a digit outside its range gives the token -1.

        Raises:
          ValueError: A digit outside its range, or not an integer.
        """
        concrete = _concrete(digits)
        if concrete is not None:
            lattice.digits_to_tokens(concrete, self.levels)
        digits = ops.convert_to_tensor(digits)
        lattice.check_channels(digits.shape, self.levels)
        digits = ops.cast(digits, self._token_dtype())
        levels = self._constant(self.levels, self._token_dtype())
        valid = ops.all((digits >= 0) & (digits < levels), axis=-1)
        tokens = ops.sum(digits * self._constant(lattice.basis(self.levels), digits.dtype), axis=-1)
        return ops.where(valid, ops.cast(tokens, self._token_dtype()), -1)

    def digits_to_codes(self, digits: Any) -> Any:
        """Places digits [..., D] on [-1, 1]; a negative digit gives NaN."""
        digits = ops.cast(digits, "float32")
        half = self._constant(self._halves(), "float32")
        codes = ops.where(digits >= 0, (digits - half) / half, float("nan"))
        return ops.cast(codes, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": list(self.levels),
            "preset": self.preset,
            "eps": self.eps,
        }

    def _bound(self, z: Any) -> Any:
        return bound(ops.cast(z, _float_dtype(z)), self.levels, self.preset, self.eps)

    def _steps_to_indices(self, steps: Any) -> Any:
        """Rounded bound values, 0 in the middle, to tokens."""
        half = self._constant(self._halves(), steps.dtype)
        digits = steps + half
        # Compared as floats, so that NaN and values beyond the integers fail too.
        valid = (digits >= 0) & (digits < self._constant(self.levels, steps.dtype))
        digits = ops.cast(ops.where(valid, digits, -1.0), self._token_dtype())
        basis = self._constant(lattice.basis(self.levels), self._token_dtype())
        tokens = ops.sum(digits * basis, axis=-1)
        # A sum may be promoted to a wider type; the token type is fixed.
        return ops.where(ops.all(valid, axis=-1), ops.cast(tokens, self._token_dtype()), -1)

    def _check_precision(self, dtype: str) -> None:
        """A code next to 1 is stored with an error of at most half a unit in the last place."""
        bits = {"bfloat16": 8, "float16": 11}.get(dtype)
        if bits is not None and max(self._halves()) >= 2**bits:
            raise ValueError(
                f"codes_to_indices: {dtype} cannot tell {max(self.levels)} levels apart. "
                "Keep the codes in float32, or take tokens from latents_to_indices."
            )

    def _halves(self) -> tuple[int, ...]:
        return lattice.half_widths(self.levels)

    def _token_dtype(self) -> str:
        return lattice.token_dtype(self.codebook_size)

    def _constant(self, values: Sequence[int], dtype: Any) -> Any:
        return ops.convert_to_tensor(np.array(values), dtype=dtype)


def _float_dtype(x: Any) -> str:
    """float64 stays; everything else is computed in float32, whatever the policy says."""
    return "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"


def _concrete(x: Any) -> np.ndarray | None:
    """Returns the values where they are known, None while a graph is traced."""
    if not keras.utils.is_keras_tensor(x):
        try:
            return ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
        except (NotImplementedError, TypeError, AttributeError):  # symbolic, each backend's way
            return None
    return None
