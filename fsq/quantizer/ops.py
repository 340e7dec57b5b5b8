"""The bound and straight-through rounding, in backend-neutral Keras ops.

The presets and their numbers are in `fsq.quantizer.presets`.

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
    """Squeezes latents so that rounding gives one of L integers per channel.

    Args:
      z: float32 or float64 latents, shape [..., D].
      levels: Values per channel, length D.
      preset: One of `fsq.quantizer.presets.PRESETS`.
      eps: How far the bound stays inside, or for `torch` reaches beyond, the outermost half step.
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
    # A shift or offset of all zeros changes nothing and costs a pass over the latents.
    if constants.shift.any():
        z = z + constant(constants.shift, dtype)
    squeezed = ops.clip(z, -1, 1) if hard_clamp else ops.tanh(z)
    wide = squeezed * constant(constants.half, dtype)
    return wide - constant(constants.offset, dtype) if constants.offset.any() else wide


def round_bound(x: Any, preset: str) -> Any:
    """Rounds what `bound` returns as the preset asks; no gradient of its own."""
    return ops.floor(x) if preset == "symmetric" else ops.round(x)


def round_straight_through(x: Any, preset: str) -> Any:
    """Rounds as `round_bound`; the gradient passes as if nothing had been done.

    Args:
      x: Floats, any shape.
      preset: One of `fsq.quantizer.presets.PRESETS`.

    Returns:
      Rounded floats of the same shape and dtype.
    """
    return pass_gradient(x, round_bound(x, preset))


@ops.custom_gradient
def pass_gradient(x: Any, value: Any) -> Any:
    """Returns the value; all of its gradient goes to x.

    A custom gradient rather than `x + stop_gradient(value - x)`: that sum is
    not always the value, bit for bit, and an infinity becomes NaN.
    """

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream = args[0] if upstream is None else upstream
        return upstream, ops.zeros_like(upstream)

    return value, gradient


def noisy_steps(x: Any, preset: str, share: float, seed: Any) -> Any:
    """Rounds what `bound` returns, but for a random share, which gets noise one step wide.

    Args:
      x: Bounded latents.
      preset: One of `fsq.quantizer.presets.PRESETS`.
      share: How many values get noise instead, in [0, 1].
      seed: A keras.random.SeedGenerator.

    Source: arXiv:2411.19842, appendix.
    """
    shape = ops.shape(x)
    noisy = keras.random.uniform(shape, seed=seed) < share
    noise = keras.random.uniform(shape, -0.5, 0.5, dtype=x.dtype, seed=seed)
    # What is rounded down lies half a step above the middle of its step.
    middle = x - 0.5 if preset == "symmetric" else x
    return ops.where(noisy, middle + noise, round_straight_through(x, preset))


def codes_of_steps(
    steps: Any, levels: Sequence[int], preset: str, scale: np.ndarray | float = 1.0
) -> Any:
    """Places rounded bound values [..., D] on [-1, 1], times a scale per channel."""
    symmetric = preset == "symmetric"
    centers = code_centers(levels, symmetric=symmetric)
    # Symmetric steps are digits; the others are counted from the center already.
    moved = steps - constant(centers, steps.dtype) if symmetric else steps
    return divide(moved, np.array(centers) / scale)


def divide(x: Any, divisors: Any) -> Any:
    """Divides whole and half numbers below 1024 by constants, rounded once however compiled.

    Graph optimisers turn a division by a constant into a product with its reciprocal, which
    is another last bit than eager mode's. So the reciprocal is split: the product with its
    leading bits is exact, the product with the rest is too small for its error to matter. The
    two are subtracted, because a sum would be gathered into one product again.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    reciprocals = 1 / np.asarray(divisors, np.float64)
    unit = 2.0 ** (np.ceil(np.log2(np.abs(reciprocals))) - (40 if dtype == "float64" else 12))
    leading = np.ceil(reciprocals / unit) * unit
    # In float64 the rest is beyond NumPy's reciprocal; a residual of the product gives it.
    rest = (leading * np.asarray(divisors) - 1) / np.asarray(divisors)
    if not rest.any():
        return x * constant(leading, dtype)
    return x * constant(leading, dtype) - x * constant(rest, dtype)


def constant(values: Any, dtype: str) -> Any:
    """Returns numbers as a tensor; float64 until the last moment."""
    return ops.convert_to_tensor(np.asarray(values), dtype=dtype)
