"""Bound presets and straight-through rounding, in backend-neutral Keras ops.

A preset fixes how an unbounded latent is squeezed onto the lattice. Published
implementations differ in it, and about one token in a hundred with them, so
the preset is part of every saved tokenizer.

| preset     | shift   | half factor | whose                                    |
|------------|---------|-------------|------------------------------------------|
| `official` | tan     | 1 - eps     | the paper's notebook                     |
| `atanh`    | arctanh | 1 - eps     | what the paper meant: bound(0) = 0       |

Source: Mentzer et al. 2023, arXiv:2309.15505, section 3.1 and appendix A.
"""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from fsq.lattice import check_levels

PRESETS = ("atanh", "official")


def check_preset(preset: str, levels: Sequence[int]) -> str:
    """Returns the preset.

    Raises:
      ValueError: The preset is unknown, or cannot place two levels.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: expected one of {list(PRESETS)}, got {preset!r}.")
    if 2 in levels:
        raise ValueError(
            f"levels: two levels need the preset 'symmetric', got {list(levels)} with {preset!r}: "
            "an asymmetric bound hardly ever reaches the lower of two codes. Use 3 or more levels."
        )
    return preset


def bound(z: Any, levels: Sequence[int], preset: str, eps: float) -> Any:
    """Squeezes latents so that rounding gives one of L integers per channel.

    Args:
      z: float32 or float64 latents, shape [..., D].
      levels: Values per channel, length D.
      preset: One of `PRESETS`.
      eps: How far the bound stays inside (`1 - eps`) the outermost half step.

    Returns:
      Values of z's dtype, shape [..., D]. Rounded, channel d lies in
      [-(L // 2), (L - 1) // 2].
    """
    # Constants in Python's float64: in float32, L = 1001 loses its outermost digit.
    halves, offsets, shifts = [], [], []
    for level in check_levels(levels):
        half = (level - 1) * (1 - eps) / 2
        offset = 0.0 if level % 2 else 0.5
        halves.append(half)
        offsets.append(offset)
        shifts.append(
            math.tan(offset / half) if preset == "official" else math.atanh(offset / half)
        )
    constant = lambda values: ops.convert_to_tensor(values, dtype=z.dtype)
    return ops.tanh(z + constant(shifts)) * constant(halves) - constant(offsets)


@ops.custom_gradient
def round_straight_through(x: Any) -> Any:
    """Rounds half to even; the gradient passes as if nothing had been done.

    A custom gradient rather than `x + stop_gradient(round(x) - x)`: that sum
    is not always the rounded value, bit for bit, and an infinity becomes NaN.

    Args:
      x: Floats, any shape.

    Returns:
      Rounded floats of the same shape and dtype.
    """

    def gradient(*args: Any, upstream: Any = None) -> Any:
        return args[0] if upstream is None else upstream

    return ops.round(x), gradient
