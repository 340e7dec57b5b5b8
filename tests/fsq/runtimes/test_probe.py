"""The bound of the probe: what differs more than rounding errors do is another encoder."""

from types import SimpleNamespace

import numpy as np
import pytest

from fsq.images.spec import ImageSpec
from fsq.runtimes.probe import PROBE_TOKENS, ProbeResult, compare_runtimes
from fsq.spec.contract import TokenizerSpec
from fsq.spec.network_spec import ConvNetwork

BATCH = 10
GRID = (10, 10)
SPEC = TokenizerSpec(
    levels=(2,),
    preset="symmetric",
    image=ImageSpec(size_pixels=40, channels=3),
    network=ConvNetwork(encoder_widths=(8, 8), decoder_widths=(8, 8)),
)


def compare(changed: int, latent: float = 0.0) -> ProbeResult:
    """Compares two runtimes on 1,000 tokens, some of which differ; all latents are the same.

    Of two levels the boundary is at zero: a latent there may become either.
    """

    def reference(images: np.ndarray) -> np.ndarray:
        return np.zeros((BATCH, *GRID), np.int32)

    def candidate(images: np.ndarray) -> np.ndarray:
        tokens = reference(images)
        tokens.flat[:changed] = 1
        return tokens

    def encoder(images: np.ndarray, *, training: bool) -> np.ndarray:
        return np.full((BATCH, *GRID, 1), latent, np.float32)

    reference.batch_size = BATCH
    network = SimpleNamespace(spec=SPEC, encoder=encoder)
    images = np.zeros((BATCH, *SPEC.image.shape), np.uint8)
    return compare_runtimes(network, reference, candidate, images)


@pytest.mark.parametrize("changed", [0, 1, 2, 3])
def test_a_share_of_one_in_a_thousand_changed_tokens_agrees_and_one_token_more_does_not(
    changed: int,
):
    result = compare(changed)
    assert (result.total, result.changed, result.farthest) == (1000, changed, 0.0)
    assert result.agrees == (changed <= 1)


@pytest.mark.parametrize("total", [1_000, 9_000, 16_000, 123_000, 10**9])
def test_the_bound_on_the_share_is_exact(total: int):
    bound = total // 1000
    assert ProbeResult(total, bound, 0.0).agrees
    assert not ProbeResult(total, bound + 1, 0.0).agrees


def test_the_probe_has_enough_tokens_to_tell_the_share():
    assert ProbeResult(PROBE_TOKENS, 16, 0.0).agrees
    assert not ProbeResult(PROBE_TOKENS, 17, 0.0).agrees


def test_the_bound_on_the_distance_is_exact():
    assert ProbeResult(1000, 1, 1e-4).agrees
    assert not ProbeResult(1000, 1, float(np.nextafter(1e-4, 1))).agrees
    assert not ProbeResult(1000, 1, float("inf")).agrees
    assert not ProbeResult(1000, 1, float("nan")).agrees


def test_one_token_that_is_farther_from_its_boundary_than_rounding_errors_reach_is_refused():
    near, far = compare(1, latent=-5e-5), compare(1, latent=-4e-4)
    assert 0 < near.farthest < 1e-4 < far.farthest < 1e-3
    assert near.agrees and not far.agrees
    assert not compare(1, latent=float("nan")).agrees
