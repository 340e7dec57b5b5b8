"""NumPy quantizer: latents to tokens as in the FSQ layer, for runtimes without Keras."""

from typing import Any

import numpy as np

from fsq.quantizer import lattice
from fsq.quantizer.presets import DEFAULT_EPS, bound_constants


class LatentsToTokens:
    """Bounds and rounds latents in float32, and joins the digits in exact integers.

    The operations are those of the layer, in the same order; NumPy's tanh and the
    layer's may differ in the last bit.

    Args:
      levels: Values per channel, length D.
      preset: One of `fsq.quantizer.presets.PRESETS`.
      eps: See `fsq.quantizer.presets`.
      positions: Latents per image. The constants are repeated for all of them, because
        NumPy is slow if the last axis is as short as D.
    """

    def __init__(
        self,
        levels: lattice.Levels,
        preset: str,
        eps: float = DEFAULT_EPS,
        *,
        positions: int,
    ):
        constants = bound_constants(levels, preset, eps, dtype="float32")
        size = lattice.vocab_size(levels)
        self._levels = levels
        self._round = np.floor if preset == "symmetric" else np.rint
        self._gain = np.float32(constants.gain)
        self._shift, self._half, self._offset, self._lowest = (
            np.tile(values.astype(np.float32), positions)
            for values in (constants.shift, constants.half, constants.offset, constants.lowest)
        )
        self._dtype = np.dtype(lattice.token_dtype(size))
        # Up to 2**24 float32 represents all integers exactly, and saves a conversion.
        self._sum_dtype = np.dtype(np.float32) if size <= 2**24 else np.dtype(np.int64)

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """Converts latents to tokens.

        Args:
          latents: float32 [B, positions, D]; not modified.

        Returns:
          int32 or int64 tokens in [0, vocab_size), [B, positions]; -1 where a
          latent is NaN or infinite.
        """
        count, positions, channels = latents.shape
        rows = latents.reshape(count, positions * channels)
        finite = None
        with np.errstate(invalid="ignore", over="ignore"):
            steps = rows * self._gain if self._gain != 1 else rows.copy()
            # A cheap test: the sum is finite only if all are. Huge latents may overflow it too.
            if not np.isfinite(rows.sum()):
                finite = np.isfinite(latents).all(axis=-1)
                steps[~np.isfinite(rows)] = 0
        steps += self._shift
        np.tanh(steps, out=steps)
        steps *= self._half
        steps -= self._offset
        self._round(steps, out=steps)
        steps -= self._lowest
        digits = steps.reshape(latents.shape).astype(self._sum_dtype, copy=False)
        total: Any = digits[..., 0].copy()
        for channel, step in enumerate(lattice.basis(self._levels)[1:], start=1):
            total += digits[..., channel] * np.asarray(step, self._sum_dtype)
        tokens: np.ndarray = total.astype(self._dtype)
        return tokens if finite is None else np.where(finite, tokens, self._dtype.type(-1))
