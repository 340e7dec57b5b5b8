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


# The paper's bound in float64 NumPy: the formula that the layer is held against.
SHIFTS = {"official": np.tan, "atanh": np.arctanh}


def bound_constants(levels, preset, eps):
    levels = np.array(levels)
    half = (levels - 1) * (1 - eps) / 2
    offset = np.where(levels % 2, 0.0, 0.5)
    return half, offset, SHIFTS[preset](offset / half)


@pytest.fixture(scope="session")
def published_bound():
    """A function from latents to the values that are rounded."""

    def bound(z, levels, preset, eps=1e-3):
        half, offset, shift = bound_constants(levels, preset, eps)
        return np.tanh(np.asarray(z, np.float64) + shift) * half - offset

    return bound


@pytest.fixture(scope="session")
def latents_of_bound():
    """Its inverse; what lies beyond the bound has infinite latents."""

    def latents(values, levels, preset, eps=1e-3):
        half, offset, shift = bound_constants(levels, preset, eps)
        with np.errstate(divide="ignore"):
            return np.arctanh(np.clip((values + offset) / half, -1, 1)) - shift

    return latents
