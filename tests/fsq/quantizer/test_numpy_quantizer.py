"""NumPy's way from latents to tokens is the layer's."""

import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer.numpy_quantizer import LatentsToTokens

LEVELS = [(8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 5, 5, 5), (3, 3), (1001,), (255, 255)]
CASES = [
    *((levels, preset) for levels in LEVELS for preset in ("atanh", "official", "torch")),
    *((levels, "symmetric") for levels in [*LEVELS, (2, 2, 3)]),
    ((7, 5, 5, 5, 5), "ifsq"),
    ((1000,) * 6, "atanh"),
    ((8,) * 9, "torch"),
]
# Two float32 tanh may differ in the last bit, and a latent may lie just there.
AT_BOUNDARIES = 1e-3


@pytest.mark.parametrize(("levels", "preset"), CASES, ids=str)
def test_tokens_are_those_of_the_layer(levels: tuple[int, ...], preset: str):
    random = np.random.default_rng(5)
    latents = (random.standard_normal((50, 400, len(levels))) * 2).astype(np.float32)
    latents[0] = 1e4
    latents[1] = -1e4
    latents[2] = 0
    layer = FSQ(list(levels), preset=preset)
    traced = tf.function(layer.latents_to_indices, autograph=False)
    expected = traced(tf.constant(latents)).numpy()
    before = latents.copy()
    found = LatentsToTokens(levels, preset, positions=400)(latents)
    assert (latents == before).all()
    assert found.dtype == expected.dtype
    assert (found[:3] == expected[:3]).all()
    assert (found != expected).mean() <= AT_BOUNDARIES
    if max(levels) <= 8:
        assert (found == expected).all()


def test_what_is_not_finite_gives_no_token_and_changes_no_other():
    latents = np.random.default_rng(6).standard_normal((3, 5, 4)).astype(np.float32)
    quantize = LatentsToTokens((8, 5, 5, 5), "atanh", positions=5)
    expected = quantize(latents)
    assert (expected >= 0).all()
    latents[0, 1, 2], latents[1, 4, 0], latents[2, 0, 3] = np.nan, np.inf, -np.inf
    found = quantize(latents)
    for place in ((0, 1), (1, 4), (2, 0)):
        assert found[place] == -1
        found[place] = expected[place]
    assert (found == expected).all()


def test_huge_latents_are_finite():
    latents = np.full((2, 3, 4), 3e38, np.float32)
    latents[1] *= -1
    found = LatentsToTokens((8, 5, 5, 5), "atanh", positions=3)(latents)
    assert found.tolist() == [[999] * 3, [0] * 3]
