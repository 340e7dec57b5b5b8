"""Latent statistics: share of saturated values and of values near a boundary. NumPy only."""

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
    """Statistics over all values of all channels; shares exclude NaN.

    Attributes:
      values: Number of values.
      nan: Number of NaN.
      saturated: Share where the bound's slope is below 1 % of its maximum, so that hardly any
        gradient passes: |z + shift| above 3, or outside the range of a hard clamp.
      near_boundary: Share whose bounded value lies within 1e-3 of a step from the boundary
        between two digits, so that small changes of a latent change the token.
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
    """Computes the statistics of latents [..., D] under a bound, in float64.

    Raises:
      ValueError: Invalid levels or preset, or the last dimension is not D.

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
    # Boundaries lie at halves, with floor at integers; the outer ends are not boundaries.
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
