"""Laws of latent statistics: what is saturated, and what lies near a boundary."""

import numpy as np
import pytest

from fsq import FSQ
from fsq.quantizer.latent_stats import LatentStatistics, latent_statistics
from fsq.quantizer.presets import PRESETS

presets = pytest.mark.parametrize("preset", PRESETS)


@presets
def test_extreme_latents_are_saturated_and_near_no_boundary(preset, fit_levels):
    z = np.array([[1e4, -1e4, np.inf], [-np.inf, 50, -50]])
    found = latent_statistics(z, fit_levels((8, 5, 4), preset), preset)
    assert found == LatentStatistics(values=6, nan=0, saturated=1.0, near_boundary=0.0)


@presets
def test_latents_on_a_boundary_are_counted_and_those_off_it_are_not(
    preset, latents_of_bound, fit_levels
):
    levels = fit_levels((8, 5), preset)
    boundary = np.array([[-1.5, -0.5], [0.5, -1.5], [1.5, 0.5]])
    for distance, share in ((0, 1), (9e-4, 1), (1.1e-3, 0), (0.5, 0)):
        z = latents_of_bound(boundary + distance, levels, preset)
        assert latent_statistics(z, levels, preset).near_boundary == share


@presets
def test_latents_near_a_boundary_are_those_whose_tokens_a_small_push_moves(preset, fit_levels):
    levels = fit_levels((8, 5, 4), preset)
    z = np.random.default_rng(0).normal(size=(200_000, 3))
    share = latent_statistics(z, levels, preset).near_boundary
    # 7 boundaries of width 2e-3, crossed by latents spread over some 8 steps, and so on.
    assert 0.001 < share < 0.003
    layer = FSQ(levels, preset=preset, dtype="float64")
    # A push of 1e-4 moves a bounded value by less than 1e-3 of a step.
    moved = layer(z).numpy() != layer(z + 1e-4).numpy()
    assert 0 < moved.mean() < share


def test_a_value_is_saturated_where_hardly_any_gradient_passes():
    z = np.array([[0.0], [2.9], [3.1], [-3.1]])
    assert latent_statistics(z, [5]).saturated == 0.5
    assert latent_statistics(z, [5], "torch", hard_clamp=True).saturated == 0.75


def test_nan_is_counted_and_left_out():
    found = latent_statistics(np.array([[0.0, np.nan], [9.0, np.nan]]), (5, 5))
    assert found == LatentStatistics(values=4, nan=2, saturated=0.5, near_boundary=0.0)


def test_no_latents_are_neither_saturated_nor_near():
    found = latent_statistics(np.zeros((0, 2)), (5, 5))
    assert found == LatentStatistics(values=0, nan=0, saturated=0.0, near_boundary=0.0)


def test_a_wrong_last_dimension_is_refused():
    with pytest.raises(ValueError, match="expected 2 channels in the last dimension"):
        latent_statistics(np.zeros((4, 3)), (5, 5))
