"""Bound and straight-through rounding in backend-neutral Keras ops.

The presets and their constants are in `fsq.quantizer.presets`.

Source: Mentzer et al. 2023, arXiv:2309.15505, section 3.1 and appendix A.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fsq.quantizer.lattice import code_centers
from fsq.quantizer.presets import DEFAULT_EPS, bound_constants


def bound(
    z: Any,
    levels: Sequence[int],
    preset: str,
    eps: float = DEFAULT_EPS,
    *,
    hard_clamp: bool = False,
) -> Any:
    """Bounds latents so that rounding gives one of L integers per channel.

    Args:
      z: float32 or float64 latents, shape [..., D].
      levels: Values per channel, length D.
      preset: One of `fsq.quantizer.presets.PRESETS`.
      eps: Relative margin between the bound and the outermost digits; for `torch` beyond them.
      hard_clamp: Clips to [-1, 1] instead of tanh, see `fsq.quantizer.presets`.

    Returns:
      Values of z's dtype, shape [..., D]. Rounded by `round_bound`, channel d lies in
      [lowest, lowest + levels[d] - 1] with the preset's `lowest`: 0 for `symmetric`,
      -(levels[d] // 2) for the others.
    """
    dtype = keras.backend.standardize_dtype(z.dtype)
    constants = bound_constants(levels, preset, eps, hard_clamp=hard_clamp, dtype=dtype)
    if constants.gain != 1:
        z = z * constants.gain
    # Adding zeros would cost a pass over the latents.
    if constants.shift.any():
        z = z + constant(constants.shift, dtype)
    squeezed = _clip(z) if hard_clamp else ops.tanh(z)
    wide = squeezed * constant(constants.half, dtype)
    return wide - constant(constants.offset, dtype) if constants.offset.any() else wide


def _clip(z: Any) -> Any:
    """Clips to [-1, 1]; NaN stays NaN, where the clamps of some engines make a bound of it."""
    return ops.where(ops.isnan(z), z, ops.clip(z, -1, 1))


def round_bound(x: Any, preset: str) -> Any:
    """Rounds the result of `bound` by the rule of the preset; without a gradient."""
    return ops.floor(x) if preset == "symmetric" else ops.round(x)


def round_straight_through(x: Any, preset: str) -> Any:
    """Rounds as `round_bound` does, with a straight-through gradient.

    Args:
      x: Floats, any shape.
      preset: One of `fsq.quantizer.presets.PRESETS`.

    Returns:
      Rounded floats of the same shape and dtype.
    """
    return pass_gradient(x, round_bound(x, preset))


@ops.custom_gradient
def pass_gradient(x: Any, value: Any) -> Any:
    """Returns `value`; its gradient goes to `x`.

    A custom gradient rather than `x + stop_gradient(value - x)`, which is not
    always bit for bit the value, and turns an infinity into NaN.
    """

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream = args[0] if upstream is None else upstream
        return upstream, ops.zeros_like(upstream)

    return value, gradient


def noisy_steps(x: Any, preset: str, share: float, seed: Any) -> Any:
    """Rounds the result of `bound`, except a random share, which gets noise one step wide.

    Args:
      x: Bounded latents.
      preset: One of `fsq.quantizer.presets.PRESETS`.
      share: Fraction of values that get noise instead, in [0, 1].
      seed: A keras.random.SeedGenerator.

    Source: arXiv:2411.19842, appendix.
    """
    shape = ops.shape(x)
    noisy = keras.random.uniform(shape, seed=seed) < share
    noise = keras.random.uniform(shape, -0.5, 0.5, dtype=x.dtype, seed=seed)
    # A value that is rounded by floor lies half a step above its middle.
    middle = x - 0.5 if preset == "symmetric" else x
    return ops.where(noisy, middle + noise, round_straight_through(x, preset))


def codes_of_steps(
    steps: Any, levels: Sequence[int], preset: str, scale: np.ndarray | float = 1.0
) -> Any:
    """Converts rounded bound values [..., D] to codes in [-1, 1], times a scale per channel."""
    symmetric = preset == "symmetric"
    centers = code_centers(levels, symmetric=symmetric)
    # Symmetric steps are digits; the others are counted from the center already.
    moved = steps - constant(centers, steps.dtype) if symmetric else steps
    return divide(moved, np.array(centers) / scale)


def divide(x: Any, divisors: Any) -> Any:
    """Divides multiples of 0.5 below 1024 by constants; the same bits eager and compiled.

    Graph optimisers replace division by a constant with multiplication by its reciprocal,
    which changes the last bit. So the reciprocal is split: the product with its leading bits
    is exact, and the product with the rest is too small for its error to matter. The two
    are subtracted, because optimisers would merge a sum into one product again.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    reciprocals = 1 / np.asarray(divisors, np.float64)
    unit = 2.0 ** (np.ceil(np.log2(np.abs(reciprocals))) - (40 if dtype == "float64" else 12))
    leading = np.ceil(reciprocals / unit) * unit
    # In float64 NumPy's reciprocal has too few bits; the residual of the product gives the rest.
    rest = (leading * np.asarray(divisors) - 1) / np.asarray(divisors)
    if not rest.any():
        return x * constant(leading, dtype)
    return x * constant(leading, dtype) - x * constant(rest, dtype)


def constant(values: Any, dtype: str) -> Any:
    """Converts numbers to a tensor, without an intermediate float32."""
    return ops.convert_to_tensor(np.asarray(values), dtype=dtype)
