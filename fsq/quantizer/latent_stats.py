"""What latents say about a bound: saturated, or near a boundary. NumPy only."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fsq.quantizer.lattice import check_channels, check_levels
from fsq.quantizer.presets import (
    DEFAULT_EPS,
    bound,
    bound_constants,
    check_hard_clamp,
    check_preset,
)

__all__ = ["LatentStatistics", "latent_statistics"]

SATURATED_SLOPE = 0.01
BOUNDARY_WIDTH = 1e-3


@dataclasses.dataclass(frozen=True)
class LatentStatistics:
    """Shares of all values of all channels, NaN left out.

    Attributes:
      values: How many values there were.
      nan: How many were NaN.
      saturated: Share where the bound's slope is below 1 % of its steepest, so that hardly any
        gradient passes: |z + shift| above 3, or with a hard clamp outside it.
      near_boundary: Share whose bounded value lies within 1e-3 of a step from the boundary
        between two digits, so that small changes upstream change the token.
    """

    values: int
    nan: int
    saturated: float
    near_boundary: float


def latent_statistics(
    z: Any,
    levels: Sequence[int],
    preset: str = "atanh",
    eps: float = DEFAULT_EPS,
    *,
    hard_clamp: bool = False,
) -> LatentStatistics:
    """Measures latents [..., D] against the bound, in float64.

    Raises:
      ValueError: Bad levels or preset, or another last dimension than D.

    >>> latent_statistics(np.array([[0.0, 9.0], [0.0, 0.0]]), (4, 5)).saturated
    0.25
    """
    checked = check_levels(levels)
    check_hard_clamp(hard_clamp, check_preset(preset, checked))
    z = np.asarray(z, np.float64)
    check_channels(z.shape, checked)
    constants = bound_constants(checked, preset, eps, hard_clamp=hard_clamp)
    moved = z * constants.gain + constants.shift
    flat = np.abs(moved) >= 1 if hard_clamp else 1 - np.tanh(moved) ** 2 < SATURATED_SLOPE
    bounded = bound(z, checked, preset, eps, hard_clamp=hard_clamp)
    # Boundaries lie at halves, where rounding is down at whole numbers; the outer ends are none.
    boundary = bounded if preset == "symmetric" else bounded + 0.5
    nearest = np.round(boundary)
    first = constants.lowest + 1
    inner = (nearest >= first) & (nearest <= constants.lowest + np.array(checked) - 1)
    near = inner & (np.abs(boundary - nearest) <= BOUNDARY_WIDTH)
    known = ~np.isnan(z)
    count = max(int(known.sum()), 1)
    return LatentStatistics(
        values=z.size,
        nan=int(z.size - known.sum()),
        saturated=float((flat & known).sum() / count),
        near_boundary=float((near & known).sum() / count),
    )
