"""The lattices that laws are checked on, token by token."""

import hypothesis
import numpy as np
import pytest

# A busy machine is no failure.
hypothesis.settings.register_profile("fsq", deadline=None)
hypothesis.settings.load_profile("fsq")

# The paper's sets for 2^4 to 2^16 tokens, then the awkward ones: many channels,
# odd and even, and levels beyond what truncation or half precision survive.
LEVEL_SETS = (
    (5, 3),
    (8, 8),
    (8, 6, 5),
    (8, 8, 8),
    (8, 5, 5, 5),
    (8, 8, 6, 5),
    (7, 5, 5, 5, 5),
    (8, 8, 8, 6, 5),
    (8, 8, 8, 5, 5, 5),
    (3,) * 8,
    (4,) * 6,
    (17,) * 4,
    (25,) * 4,
    (26, 5),
    (13, 12, 12, 12, 12),
    (100, 100),
    (255, 255),
)

# Too many tokens to list them all: 2^27 to 10^18.
LARGE_LEVEL_SETS = ((8,) * 9, (16,) * 7, (64,) * 5, (16,) * 9, (1000,) * 6)


@pytest.fixture(params=LEVEL_SETS, ids=lambda levels: "x".join(map(str, levels)))
def levels(request):
    """One lattice that is small enough to list every token."""
    return request.param


@pytest.fixture(params=LARGE_LEVEL_SETS, ids=lambda levels: f"{levels[0]}^{len(levels)}")
def large_levels(request):
    """One lattice that is too large to list every token."""
    return request.param


@pytest.fixture(scope="session")
def level_sets():
    """All lattices of `levels` at once."""
    return LEVEL_SETS


# Every preset's bound in float64 NumPy: the formulas that the layer is held against, written
# out again, so that a slip in fsq/quantizer/presets.py shows.


def tanh_constants(levels, preset, eps):
    half = (levels - 1) * (1 + eps if preset == "torch" else 1 - eps) / 2
    offset = np.where(levels % 2, 0.0, 0.5)
    shift = (np.tan if preset == "official" else np.arctanh)(offset / half)
    return half, offset, shift


@pytest.fixture(scope="session")
def published_bound():
    """A function from latents to the values that are rounded, 0 for digit L // 2."""

    def bound(z, levels, preset, eps=1e-3):
        z, levels = np.asarray(z, np.float64), np.array(levels)
        if preset == "symmetric":
            return (levels - 1) * (np.tanh(z) + 1) / 2 - levels // 2
        if preset == "ifsq":
            return (2 / (1 + np.exp(-1.6 * z)) - 1) * (levels // 2)
        half, offset, shift = tanh_constants(levels, preset, eps)
        return np.tanh(z + shift) * half - offset

    return bound


@pytest.fixture(scope="session")
def latents_of_bound():
    """Its inverse; what lies beyond the bound has infinite latents."""

    def latents(values, levels, preset, eps=1e-3):
        levels = np.array(levels)
        arctanh = lambda share: np.arctanh(np.clip(share, -1, 1))
        with np.errstate(divide="ignore"):
            if preset == "symmetric":
                return arctanh((values + levels // 2) / (levels - 1) * 2 - 1)
            if preset == "ifsq":
                return arctanh(values / (levels // 2)) / 0.8
            half, offset, shift = tanh_constants(levels, preset, eps)
            return arctanh((values + offset) / half) - shift

    return latents


@pytest.fixture(scope="session")
def codes_of_digits():
    """A function from digits to codes: evenly over [-1, 1], or with digit L // 2 on 0."""

    def codes(digits, levels, preset):
        levels = np.array(levels)
        if preset == "symmetric":
            return 2 * digits / (levels - 1) - 1
        return (digits - levels // 2) / (levels // 2)

    return codes


@pytest.fixture(scope="session")
def fit_levels():
    """A function that makes levels odd where the preset asks for it."""
    return lambda levels, preset: tuple(
        level + (preset == "ifsq" and level % 2 == 0) for level in levels
    )
