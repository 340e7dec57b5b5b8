"""FSQ layer: latents to codes, codes to tokens and back, exactly."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fsq.quantizer import indexing, lattice
from fsq.quantizer.channel_layout import Channels
from fsq.quantizer.layer_base import QuantizerLayer, layer_method
from fsq.quantizer.ops import (
    bound,
    codes_of_steps,
    noisy_steps,
    round_bound,
    round_straight_through,
)
from fsq.quantizer.presets import DEFAULT_EPS, bound_constants, check_hard_clamp, check_preset


@keras.saving.register_keras_serializable(package="fsq")
class FSQ(QuantizerLayer):
    """Quantizes each channel of a latent to a few values (Finite Scalar Quantization).

    Bound and rounding are computed in float32 under every policy (float64 for
    float64), indices in integers. Codes are returned in the compute dtype.

    Invalid concrete values raise an error. A compiled graph cannot raise, so it
    marks them: latents or codes outside the lattice, or NaN, give the token -1,
    and that token decodes to NaN.

    With `num_codebooks=c` the channels are c groups of D with a token each: token
    shape [..., c], equal to the tokens of c separate layers. With `dim`, learned
    linear maps project dim channels to c * D and back.

    Args:
      levels: Values per channel, length D, each in [3, 1001]; with the preset 'symmetric' from 2,
        with 'ifsq' odd. The paper's sets are [8, 6, 5] for 2^8 tokens, [8, 5, 5, 5] for 2^10,
        [7, 5, 5, 5, 5] for 2^12; `fsq.levels_for(size)` finds others.
      preset: Bound preset: 'atanh', 'official', 'torch', 'symmetric' or 'ifsq', see `presets`.
      eps: Margin of the bound; not used by 'symmetric' and 'ifsq'.
      hard_clamp: Clips instead of tanh; 'torch' and 'symmetric' only, see `presets`.
      num_codebooks: Groups of channels, c.
      dim: Channels of input and output, mapped to c * D and back; None for c * D and no maps.
      data_format: 'channels_last', or 'channels_first' for inputs, codes and outputs [B, D, ...].
      noise_dropout: Fraction of values that get uniform noise, one step wide, instead of
        rounding during training. Tokens never have noise. Source: arXiv:2411.19842.
      seed: Seed of the noise.
      raise_on_nan: Raises an error with the number of NaN in concrete latents. Otherwise, and
        in a compiled graph, NaN stays NaN in codes, and the token is -1.

    Raises:
      ValueError: An invalid level, preset, eps, or option.

    Source: Mentzer et al. 2023, arXiv:2309.15505.

    >>> layer = FSQ(levels=[3, 5, 4], preset="official")
    >>> codes = layer(np.array([0.25, 0.6, -7.0], "float32"))
    >>> codes.numpy().tolist(), int(layer.codes_to_indices(codes))
    ([0.0, 0.5, -1.0], 10)
    """

    def __init__(
        self,
        levels: Sequence[int],
        *,
        preset: str = "atanh",
        eps: float = DEFAULT_EPS,
        hard_clamp: bool = False,
        num_codebooks: int = 1,
        dim: int | None = None,
        data_format: str = "channels_last",
        noise_dropout: float = 0.0,
        seed: int | None = None,
        raise_on_nan: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.levels = lattice.check_levels(levels)
        self.preset = check_preset(preset, self.levels)
        if not 0 < eps <= DEFAULT_EPS:
            raise ValueError(f"eps: expected a value in (0, 0.001], got {eps}.")
        self.eps = float(eps)
        self.hard_clamp = check_hard_clamp(hard_clamp, preset)
        self.num_codebooks = lattice.check_count("num_codebooks", num_codebooks)
        self.dim = None if dim is None else lattice.check_count("dim", dim)
        self.data_format = data_format
        self._channels = Channels(self.levels, self.num_codebooks, data_format)
        if not 0 <= noise_dropout <= 1:
            raise ValueError(f"noise_dropout: expected a value in [0, 1], got {noise_dropout}.")
        self.noise_dropout = float(noise_dropout)
        self.seed = seed
        self.raise_on_nan = bool(raise_on_nan)
        # A seed generator is a weight, so it is made only if there is noise.
        self._noise = keras.random.SeedGenerator(seed) if noise_dropout else None

    @property
    def num_dimensions(self) -> int:
        """Channels of one codebook's code, D."""
        return len(self.levels)

    @property
    def num_channels(self) -> int:
        """Channels of all codebooks' codes together, c * D."""
        return self._channels.count

    @property
    def codebook_size(self) -> int:
        """Number of tokens, the product of the levels."""
        return lattice.vocab_size(self.levels)

    @property
    def codebook(self) -> np.ndarray:
        """All codes, float32 [codebook_size, D]; computed on access, at most 2**24 codes."""
        return lattice.codebook(self.levels, symmetric=self._symmetric)

    def codebook_chunk(self, start: int, stop: int) -> np.ndarray:
        """Returns the codes of the tokens in [start, stop), float32 [stop - start, D]."""
        return lattice.codebook(self.levels, start, stop, symmetric=self._symmetric)

    def build(self, input_shape: Any) -> None:
        """Checks the number of channels and adds the linear maps if `dim` is set."""
        self._channels.check(input_shape, self.dim)
        if self.dim is not None:
            # Weights of the layer itself, not Dense layers, and never cast: tokens must not change
            # when a model is quantized to int8, or computes in bfloat16.
            for name, shape in (
                ("project_in", (self.dim, self.num_channels)),
                ("project_out", (self.num_channels, self.dim)),
            ):
                kernel = self.add_weight(shape, name=f"{name}_kernel", autocast=False)
                bias = self.add_weight(shape[1:], "zeros", name=f"{name}_bias", autocast=False)
                setattr(self, f"_{name}", (kernel, bias))
        super().build(input_shape)

    def latents_shape(self) -> tuple[int | None, ...]:
        """Returns the shape of a batch of inputs, [None, dim or c * D]."""
        return None, self.dim or self.num_channels

    def quantize_latents(self, z: Any, training: bool | None) -> Any:
        """Quantizes latents [..., dim or c * D] to codes in [-1, 1], projected to dim if given.

        NaN stays NaN.
        """
        bounded = self._bound(self._enter(z))
        if training and self._noise is not None:
            steps = noisy_steps(bounded, self.preset, self.noise_dropout, self._noise)
        else:
            steps = round_straight_through(bounded, self.preset)
        codes = codes_of_steps(steps, self.levels, self.preset)
        return self._leave(self._map("project_out", self._channels.join(codes)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the codes, which is that of the latents."""
        self._channels.check(input_shape, self.dim)
        return input_shape

    @layer_method
    def project_in(self, z: Any) -> Any:
        """Projects inputs [..., dim] to latents [..., c * D], in float32 or float64.

        Without `dim` the latents are the inputs.
        """
        z = ops.convert_to_tensor(z)
        return self._channels.from_last(self._enter(ops.cast(z, self.compute_dtype)))

    @layer_method
    def project_out(self, codes: Any) -> Any:
        """Projects codes [..., c * D] to outputs [..., dim]; without `dim` returns the codes."""
        codes = ops.convert_to_tensor(codes)
        self._channels.check(codes.shape)
        codes = ops.cast(codes, indexing.float_dtype(codes))
        return self._leave(self._map("project_out", self._channels.to_last(codes)))

    @layer_method
    def latents_to_indices(self, z: Any) -> Any:
        """Converts latents to tokens directly, without computing codes.

        Args:
          z: Inputs of the layer: floats [..., D], [..., c * D] or [..., dim].

        Returns:
          Integers in [0, codebook_size), shape [...], with several codebooks
          [..., c]; int32 up to 2**31 - 1 codes, else int64. A latent with a NaN
          gives -1. Noise is never added.
        """
        z = ops.convert_to_tensor(z)
        # As in `layer(z)`: Keras casts a layer's input to the compute dtype.
        bounded = self._bound(self._enter(ops.cast(z, self.compute_dtype)))
        lowest = bound_constants(self.levels, self.preset, self.eps).lowest
        return indexing.steps_to_indices(round_bound(bounded, self.preset), lowest, self.levels)

    @layer_method
    def codes_to_indices(self, codes: Any) -> Any:
        """Converts codes to tokens.

        Args:
          codes: Floats on the lattice, shape [..., D] or [..., c * D], in any float type that
            resolves the levels.

        Returns:
          Integers in [0, codebook_size), shape [...]; see `latents_to_indices`.

        Raises:
          ValueError: A code is NaN or not on the lattice, the last dimension is
            not D, or the float type is too coarse for the levels.
        """
        codes = ops.convert_to_tensor(codes)
        self._channels.check(codes.shape)
        found = keras.backend.standardize_dtype(codes.dtype)
        tolerance = indexing.code_tolerance(found, self.levels, symmetric=self._symmetric)
        codes = self._channels.to_last(ops.cast(codes, indexing.float_dtype(codes)))
        digits = indexing.codes_to_digits(
            self._channels.split(codes),
            self.levels,
            symmetric=self._symmetric,
            tolerance=tolerance,
        )
        indices = indexing.digits_to_indices(digits, self.levels)
        values = indexing.concrete(indices)
        if values is not None and (values < 0).any():
            raise ValueError(
                f"codes_to_indices: expected codes on the lattice of {list(self.levels)}, "
                f"got {int((values < 0).sum())} off it or NaN."
            )
        return indices

    @layer_method
    def indices_to_codes(self, indices: Any) -> Any:
        """Converts tokens to codes; the inverse of `codes_to_indices`.

        Args:
          indices: Integers in [0, codebook_size), shape [...], with several codebooks [..., c].

        Returns:
          Codes in the compute dtype, shape [..., D] or [..., c * D]. In a compiled
          graph a token outside the range gives NaN.

        Raises:
          ValueError: A token outside the range, or not an integer.
        """
        digits = self._split_tokens(indices)
        codes = indexing.digits_to_codes(digits, self.levels, symmetric=self._symmetric)
        return self._leave(self._channels.join(codes))

    @layer_method
    def indices_to_digits(self, indices: Any) -> Any:
        """Splits tokens [...] into digits [..., D], digit d in [0, levels[d]).

        Several codebooks: tokens [..., c], digits [..., c, D]. Digits keep their
        channel last in either data format. In a compiled graph a token outside
        the range gives the digits -1.

        Raises:
          ValueError: A token outside the range, or not an integer.
        """
        return self._split_tokens(indices)

    @layer_method
    def digits_to_indices(self, digits: Any) -> Any:
        """Joins digits [..., D] into tokens [...]; the inverse of `indices_to_digits`.

        In a compiled graph a digit outside its range gives the token -1.

        Raises:
          ValueError: A digit outside its range, or not an integer.
        """
        return indexing.digits_to_indices(self._check_digits(digits), self.levels)

    @layer_method
    def digits_to_codes(self, digits: Any) -> Any:
        """Places digits [..., D] or [..., c, D] on [-1, 1].

        In a compiled graph a digit outside its range gives NaN.

        Raises:
          ValueError: A digit outside its range, or not an integer.
        """
        digits = self._check_digits(digits)
        codes = indexing.digits_to_codes(digits, self.levels, symmetric=self._symmetric)
        return self._leave(self._channels.join(codes))

    def _split_tokens(self, indices: Any) -> Any:
        """Splits tokens into digits; on symbolic tensors too, without a call of its own."""
        self._channels.check_tokens(getattr(indices, "shape", np.shape(indices)))
        return indexing.indices_to_digits(indices, self.levels)

    def _check_digits(self, digits: Any) -> Any:
        """Returns digits as a tensor; their values are checked outside of compiled graphs only."""
        values = indexing.concrete(digits)
        if values is not None:
            lattice.digits_to_tokens(values, self.levels)
        digits = ops.convert_to_tensor(digits)
        lattice.check_channels(digits.shape, self.levels)
        return digits

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "levels": list(self.levels),
            "preset": self.preset,
            "eps": self.eps,
            "hard_clamp": self.hard_clamp,
            "num_codebooks": self.num_codebooks,
            "dim": self.dim,
            "data_format": self.data_format,
            "noise_dropout": self.noise_dropout,
            "seed": self.seed,
            "raise_on_nan": self.raise_on_nan,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FSQ":
        """Makes a layer from what `get_config` returned."""
        # Checked first, because Keras wraps an error of the constructor in the whole config.
        check_preset(config.get("preset", "atanh"), lattice.check_levels(config["levels"]))
        layer: FSQ = super().from_config(config)
        return layer

    def _enter(self, z: Any) -> Any:
        """Converts inputs to float latents, channels last."""
        # Checked here too, not only in build(): a single channel would be broadcast silently.
        self._channels.check(z.shape, self.dim)
        if self.raise_on_nan:
            indexing.refuse_nan(z)
        z = self._channels.to_last(ops.cast(z, indexing.float_dtype(z)))
        return self._map("project_in", z)

    def _leave(self, x: Any) -> Any:
        return ops.cast(self._channels.from_last(x), self.compute_dtype)

    def _map(self, name: str, x: Any) -> Any:
        """Applies a linear map in the dtype of x."""
        if self.dim is None:
            return x
        self.build_once()
        kernel, bias = getattr(self, f"_{name}")
        return ops.matmul(x, ops.cast(kernel, x.dtype)) + ops.cast(bias, x.dtype)

    def _bound(self, z: Any) -> Any:
        """Bounds latents [..., c * D], split into codebooks."""
        z = self._channels.split(z)
        return bound(z, self.levels, self.preset, self.eps, hard_clamp=self.hard_clamp)

    @property
    def _symmetric(self) -> bool:
        return self.preset == "symmetric"
