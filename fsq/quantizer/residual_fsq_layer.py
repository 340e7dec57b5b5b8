"""Residual FSQ layer: stages that each quantize the residual of those before."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fsq.quantizer import indexing, lattice
from fsq.quantizer.layer_base import QuantizerLayer, layer_method
from fsq.quantizer.ops import bound, codes_of_steps, constant, pass_gradient, round_bound
from fsq.quantizer.presets import bound_constants

FINEST = 2**24  # resolution of float32, below which a residual is noise
PRESET = "symmetric"  # its error is at most half a step everywhere, at the edges too


@keras.saving.register_keras_serializable(package="fsq")
class ResidualFSQ(QuantizerLayer):
    """Quantizes latents in stages, coarse to fine: one token per stage.

    Stage k covers one step of the stage before with a symmetric lattice of scale L^-k, with
    hard clamps. Its error is at most L^-k / (L - 1) per channel, 1 / (L - 1) being half a
    step, if latents are within 1 + 1 / (L - 1), which the soft clamp ensures.

    The first k tokens can be decoded alone, with the error of k stages; a token of -1 decodes
    to 0. All stages are computed in float32 (float64 for float64).

    Args:
      levels: Values per channel in each stage, length D, each in [2, 1001].
      num_quantizers: Number of stages, q.
      soft_clamp: Bounds latents to that range by a tanh first. Without it latents outside are
        clipped, and their errors are not bounded.
      quantize_dropout: In training, each call uses a random number of stages, 1 to q.
      seed: Seed of the dropout.

    Raises:
      ValueError: An invalid level or number of stages.

    Sources: Mentzer et al. 2023, arXiv:2309.15505; SoundStream, arXiv:2107.03312, algorithm 1;
    scales and soft clamp as in vector-quantize-pytorch 1.32.

    >>> layer = ResidualFSQ(levels=[8, 5, 5, 3], num_quantizers=4)
    >>> z = np.array([[0.3, -0.2, 0.9, -0.5]], "float32")
    >>> tokens = layer.latents_to_indices(z)
    >>> bool((layer.indices_to_codes(tokens) == layer(z)).numpy().all()), tuple(tokens.shape)
    (True, (1, 4))
    """

    def __init__(
        self,
        levels: Sequence[int],
        num_quantizers: int,
        *,
        soft_clamp: bool = True,
        quantize_dropout: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.levels = lattice.check_levels(levels)
        self.num_quantizers = lattice.check_count("num_quantizers", num_quantizers)
        if max(self.levels) ** (self.num_quantizers - 1) > FINEST:
            raise ValueError(
                f"num_quantizers: expected stages that float32 resolves, got "
                f"{num_quantizers} for levels up to {max(self.levels)}. Use fewer."
            )
        self.soft_clamp = bool(soft_clamp)
        self.quantize_dropout = bool(quantize_dropout)
        self.seed = seed
        self._dropout = keras.random.SeedGenerator(seed) if quantize_dropout else None

    @property
    def num_dimensions(self) -> int:
        """Channels of a code, D."""
        return len(self.levels)

    @property
    def codebook_size(self) -> int:
        """Number of tokens of one stage, the product of the levels."""
        return lattice.vocab_size(self.levels)

    @property
    def codebook(self) -> np.ndarray:
        """Codes of stage 0, float32 [codebook_size, D]; those of stage k are scales[k] times it."""
        return lattice.codebook(self.levels, symmetric=True)

    @property
    def scales(self) -> np.ndarray:
        """Scale of each stage's codes, float64 [q, D]: L^-k."""
        stages = np.arange(self.num_quantizers, dtype=float)[:, None]
        scales: np.ndarray = np.array(self.levels) ** -stages
        return scales

    def build(self, input_shape: Any) -> None:
        """Checks the number of channels; there are no weights."""
        lattice.check_channels(input_shape, self.levels)
        super().build(input_shape)

    def latents_shape(self) -> tuple[int | None, ...]:
        """Returns the shape of a batch of latents, [None, D]."""
        return None, self.num_dimensions

    def quantize_latents(self, z: Any, training: bool | None) -> Any:
        """Quantizes latents [..., D] to the sum of the stages' codes, [..., D].

        The gradient is that of the soft clamp, straight through the rounding.
        """
        clamped = self._clamp(z)
        kept = None
        if training and self._dropout is not None:
            kept = keras.random.randint((), 1, self.num_quantizers + 1, seed=self._dropout)
        codes, _ = self._stages(ops.stop_gradient(clamped), kept)
        return ops.cast(pass_gradient(clamped, codes), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the codes, which is that of the latents."""
        lattice.check_channels(input_shape, self.levels)
        return input_shape

    @layer_method
    def latents_to_indices(self, z: Any) -> Any:
        """Converts latents [..., D] to one token per stage, [..., q], coarse to fine.

        Of all stages, without dropout. A latent with a NaN gives -1.
        """
        z = ops.cast(ops.convert_to_tensor(z), self.compute_dtype)
        _, indices = self._stages(self._clamp(z))
        return ops.stack(indices, axis=-1)

    @layer_method
    def indices_to_codes(self, indices: Any) -> Any:
        """Converts tokens of the first k stages to codes; with all q stages to `layer(z)`.

        Args:
          indices: Integers in [0, codebook_size), or -1 for a dropped stage, which adds 0;
            shape [..., k], 1 <= k <= q.

        Returns:
          Codes in the compute dtype, shape [..., D]. In a compiled graph a token
          outside the range gives NaN.

        Raises:
          ValueError: A token outside the range, not an integer, or more than q stages.
        """
        shape = tuple(getattr(indices, "shape", np.shape(indices)))
        if not shape or not 1 <= shape[-1] <= self.num_quantizers:
            raise ValueError(
                f"tokens: expected 1 to {self.num_quantizers} in the last dimension, one per "
                f"stage, got shape {shape}."
            )
        values = indexing.concrete(indices)
        if values is not None:
            lattice.check_tokens(np.where(values == -1, 0, values), self.codebook_size)
            indices = values
        indices = ops.convert_to_tensor(indices)
        dropped = ops.expand_dims(indices == -1, -1)
        digits = indexing.indices_to_digits(ops.where(indices == -1, 0, indices), self.levels)
        # As in `_stages`: the first stage minus the negative codes of the others.
        signs = np.where(np.arange(shape[-1]) == 0, 1, -1)[:, None]
        scales = signs * self.scales[: shape[-1]]
        stages = indexing.digits_to_codes(digits, self.levels, symmetric=True, scale=scales)
        stages = ops.where(dropped, 0.0, stages)
        codes = stages[..., 0, :]
        for stage in range(1, shape[-1]):
            codes = codes - stages[..., stage, :]
        return ops.cast(codes, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "levels": list(self.levels),
            "num_quantizers": self.num_quantizers,
            "soft_clamp": self.soft_clamp,
            "quantize_dropout": self.quantize_dropout,
            "seed": self.seed,
        }

    def _clamp(self, z: Any) -> Any:
        lattice.check_channels(z.shape, self.levels)
        z = ops.cast(z, indexing.float_dtype(z))
        if not self.soft_clamp:
            return z
        reach = 1 + 1 / (np.array(self.levels) - 1)
        return ops.tanh(z * constant(1 / reach, z.dtype)) * constant(reach, z.dtype)

    def _stages(self, z: Any, kept: Any = None) -> tuple[Any, list[Any]]:
        """Returns the codes of the kept stages (None for all), and every stage's tokens."""
        lowest = bound_constants(self.levels, PRESET).lowest
        codes, residual, indices = None, z, []
        for stage, scale in enumerate(self.scales):
            wide = residual * constant(1 / scale, residual.dtype)
            steps = round_bound(bound(wide, self.levels, PRESET, hard_clamp=True), PRESET)
            indices.append(indexing.steps_to_indices(steps, lowest, self.levels))
            if codes is None:
                codes = codes_of_steps(steps, self.levels, PRESET)
            else:
                # Graph optimisers reorder sums, which changes the last bit, but not differences.
                # So a stage's code is negated and subtracted.
                negative = codes_of_steps(steps, self.levels, PRESET, -scale)
                if kept is not None:
                    negative = ops.where(stage < kept, negative, 0.0)
                codes = codes - negative
            residual = z - codes
        return codes, indices
