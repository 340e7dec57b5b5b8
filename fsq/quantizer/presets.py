"""Bound presets and their constants. NumPy only.

A preset defines how an unbounded latent is bounded and rounded. Published
implementations differ in it, and in about one token in a hundred, so the preset
is part of every saved tokenizer.

| preset      | bounded by            | half width      | rounded    | source                     |
|-------------|-----------------------|-----------------|------------|----------------------------|
| `atanh`     | tanh(z + shift)       | (L-1)(1-eps)/2  | to even    | what the paper meant       |
| `official`  | tanh(z + tan shift)   | (L-1)(1-eps)/2  | to even    | the paper's notebook       |
| `torch`     | tanh(z + shift)       | (L-1)(1+eps)/2  | to even    | vector-quantize-pytorch    |
| `symmetric` | tanh(z)               | (L-1)/2         | floor + .5 | its `preserve_symmetry`    |
| `ifsq`      | 2 sigmoid(1.6 z) - 1  | (L-1)/2, L odd  | to even    | iFSQ                       |

`symmetric` spaces its codes evenly over [-1, 1], 2 digit / (L - 1) - 1, so it is
the only one that supports two levels. The others map digit L // 2 to 0.
`hard_clamp` replaces tanh by a clip to [-1, 1] and the shift by its ratio, as
vector-quantize-pytorch's option does: for `torch` and `symmetric` only.

Sources: Mentzer et al. 2023, arXiv:2309.15505, section 3.1 and appendix A;
vector-quantize-pytorch 1.32; stable-codec, arXiv:2411.19842, appendix.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from fsq.quantizer.lattice import Levels, check_levels

Preset = Literal["atanh", "official", "torch", "symmetric", "ifsq"]
PRESETS: tuple[str, ...] = get_args(Preset)
HARD_CLAMP_PRESETS = ("torch", "symmetric")
DEFAULT_EPS = 1e-3

# In float32 tanh has an error of up to one unit in the last place, and with these levels the
# errors add up: |bound(0)| is 1.2e-7 and more (Eigen or XLA, measured). With the next float32
# above the shift it is below 1e-7 in both.
# fmt: off
_SHIFT_ONE_UNIT_UP = {
    "atanh": frozenset((
        106, 110, 142, 278, 300, 382, 446, 464, 580, 742, 750, 754, 756, 758, 862, 922, 930, 932,
        982,
    )),
    "torch": frozenset((
        30, 60, 166, 244, 284, 474, 482, 556, 570, 572, 580, 598, 634, 642, 754, 756, 788, 924,
        934, 962, 966, 972,
    )),
}
# fmt: on


class BoundConstants(NamedTuple):
    """Constants per channel: bound(z) = tanh(gain * z + shift) * half - offset, or clip for tanh.

    Attributes:
      gain: Factor of the latents; 1 except for `ifsq`.
      shift: Added to the latents, so that bound(0) is 0.
      half: Half the width of the bound.
      offset: Subtracted at the end.
      lowest: The rounded bound of -inf: the step of digit 0.
    """

    gain: float
    shift: np.ndarray
    half: np.ndarray
    offset: np.ndarray
    lowest: np.ndarray


def check_preset(preset: str, levels: Sequence[int]) -> str:
    """Returns the preset.

    Raises:
      ValueError: The preset is unknown, or does not support the levels.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: expected one of {list(PRESETS)}, got {preset!r}.")
    if preset == "ifsq" and not all(level % 2 for level in levels):
        raise ValueError(
            f"levels: expected odd levels for the preset 'ifsq', got {list(levels)}. "
            "Use odd levels, or another preset."
        )
    if preset != "symmetric" and 2 in levels:
        raise ValueError(
            f"levels: expected 3 or more for the preset {preset!r}, got {list(levels)}: of two "
            "levels it hardly ever reaches the lower. Use 3 or more, or the preset 'symmetric'."
        )
    return preset


def check_hard_clamp(hard_clamp: bool, preset: str) -> bool:
    """Returns `hard_clamp` as a bool.

    Raises:
      ValueError: The preset does not support a hard clamp.
    """
    if hard_clamp and preset not in HARD_CLAMP_PRESETS:
        raise ValueError(
            f"hard_clamp: expected one of the presets {list(HARD_CLAMP_PRESETS)}, got {preset!r}."
        )
    return bool(hard_clamp)


def bound_constants(
    levels: Sequence[int],
    preset: str,
    eps: float = DEFAULT_EPS,
    *,
    hard_clamp: bool = False,
    dtype: str = "float64",
) -> BoundConstants:
    """Computes a preset's constants in float64, for latents of the given dtype.

    >>> bound_constants((8, 5), "atanh").lowest
    array([-4., -2.])
    """
    return _bound_constants(check_levels(levels), preset, eps, hard_clamp, dtype)


@functools.lru_cache(maxsize=256)  # computed at every eager call
def _bound_constants(
    levels: Levels, preset: str, eps: float, hard_clamp: bool, dtype: str
) -> BoundConstants:
    # Float64 throughout: in float32, L = 1001 loses its outermost digit.
    level = np.array(levels, np.float64)
    zero = np.zeros_like(level)
    match preset:
        case "symmetric":
            # floor(x + .5) and the conversion to digits are both in the offset.
            return BoundConstants(1.0, zero, (level - 1) / 2, -level / 2, zero)
        case "ifsq":
            # 2 sigmoid(1.6 z) - 1 = tanh(.8 z)
            return BoundConstants(0.8, zero, (level - 1) / 2, zero, -(level // 2))
        case "torch":
            half = (level - 1) * (1 + eps) / 2
        case _:
            half = (level - 1) * (1 - eps) / 2
    offset = np.where(level % 2, 0.0, 0.5)
    ratio = offset / half
    if hard_clamp:
        shift = ratio
    elif preset == "official":
        shift = np.tan(ratio)
    else:
        shift = np.arctanh(ratio)
        if dtype == "float32" and eps == DEFAULT_EPS:
            up = np.isin(level, list(_SHIFT_ONE_UNIT_UP[preset]))
            rounded = shift.astype(np.float32)
            shift = np.where(up, np.nextafter(rounded, np.float32(np.inf)), shift)
    return BoundConstants(1.0, shift, half, offset, -(level // 2))


def bound(
    z: Any,
    levels: Sequence[int],
    preset: str,
    eps: float = DEFAULT_EPS,
    *,
    hard_clamp: bool = False,
) -> np.ndarray:
    """Bounds latents [..., D] in float64: the reference for `fsq.quantizer.ops.bound`.

    >>> float(bound([0.0], (8,), "atanh")[0])
    0.0
    """
    constants = bound_constants(levels, preset, eps, hard_clamp=hard_clamp)
    moved = np.asarray(z, np.float64) * constants.gain + constants.shift
    squeezed = np.clip(moved, -1, 1) if hard_clamp else np.tanh(moved)
    bounded: np.ndarray = squeezed * constants.half - constants.offset
    return bounded
