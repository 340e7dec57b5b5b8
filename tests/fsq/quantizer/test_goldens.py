"""The layer against published code; see goldens/official.json and torch.json for their origin."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer import lattice
from fsq.quantizer.ops import bound

GOLDENS = pathlib.Path(__file__).parent / "goldens"
GOLDEN = json.loads((GOLDENS / "official.json").read_text())
TORCH = json.loads((GOLDENS / "torch.json").read_text())
CONFIG = GOLDEN["config"]

# Results are written to 7 decimals (5e-8) and both sides are float32, which rounds
# a value below 1 by up to 6e-8. Neighbouring codes lie at least 1/8 apart.
TOLERANCE = 2e-7

# Gradients hold 1 - tanh^2, where float32 loses digits: an error of 1.2e-7 in
# tanh^2, times the half width, over L // 2, comes on top.
GRADIENT_TOLERANCE = 4e-7

one_channel = pytest.mark.parametrize(
    "golden", GOLDEN["one_channel"]["results"], ids=lambda golden: f"L={golden['levels'][0]}"
)
several_channels = pytest.mark.parametrize(
    "golden", GOLDEN["several_channels"], ids=lambda golden: str(golden["levels"])
)
gradients = pytest.mark.parametrize(
    "golden", GOLDEN["gradients"]["results"], ids=lambda golden: f"L={golden['levels'][0]}"
)


def test_the_golden_file_covers_every_level_from_3_to_17():
    levels = [golden["levels"] for golden in GOLDEN["one_channel"]["results"]]
    assert levels == [[level] for level in range(3, 18)]
    assert GOLDEN["source"] == "the notebook published with arXiv:2309.15505"


@one_channel
def test_no_golden_point_lies_near_a_tie(golden, published_bound):
    # So that the tests below may ask for every point: float32 errors are below 1e-5.
    exact = published_bound(GOLDEN["one_channel"]["z"], golden["levels"], **CONFIG)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-5


@one_channel
def test_codes_and_tokens_of_one_channel_are_those_of_the_notebook(golden):
    z = np.array(GOLDEN["one_channel"]["z"], np.float32)[:, None]
    check_codes_and_tokens(FSQ(golden["levels"], **CONFIG), z, golden)


@several_channels
def test_codes_and_tokens_of_several_channels_are_those_of_the_notebook(golden):
    z = np.array(golden["z"], np.float32)
    check_codes_and_tokens(FSQ(golden["levels"], **CONFIG), z, golden)


@one_channel
def test_the_bound_of_zero_is_that_of_the_notebook(golden):
    value = bound(tf.zeros([1]), golden["levels"], **CONFIG)
    np.testing.assert_allclose(value, [golden["bound_of_zero"]], rtol=0, atol=TOLERANCE)


def test_the_codebook_is_that_of_the_notebook():
    golden = GOLDEN["codebook"]
    np.testing.assert_array_equal(lattice.codebook(golden["levels"]), golden["codes"])


@gradients
def test_gradients_are_those_of_the_notebook(golden):
    layer = FSQ(golden["levels"], **CONFIG)
    z = tf.constant(GOLDEN["gradients"]["z"], tf.float32)[:, None]
    with tf.GradientTape() as tape:
        tape.watch(z)
        codes = layer(z)
    np.testing.assert_allclose(
        tape.gradient(codes, z)[:, 0], golden["gradients"], rtol=0, atol=GRADIENT_TOLERANCE
    )


def test_the_torch_golden_file_covers_both_lattices_and_both_clamps():
    configs = [golden["config"] for golden in TORCH["results"]]
    assert len(configs) == 38
    assert {(c["preset"], c["hard_clamp"]) for c in configs} == {
        (preset, hard) for preset in ("torch", "symmetric") for hard in (False, True)
    }


@pytest.mark.parametrize(
    "golden",
    TORCH["results"],
    ids=lambda golden: "{levels} {preset} hard={hard_clamp}".format(**golden["config"]),
)
def test_codes_and_tokens_are_those_of_vector_quantize_pytorch_away_from_ties(golden):
    z = np.array(TORCH["z"], np.float32)[:, None]
    exact = published_clamped_bound(z, **golden["config"])
    clear = (np.abs(exact - np.floor(exact) - 0.5) > 1e-5)[:, 0]
    # Of 61: at least 1 is a tie with symmetric and an even L, 10 at most with a hard clamp.
    assert clear.sum() >= 51
    layer = FSQ(**golden["config"])
    codes = layer(z).numpy()[:, 0]
    np.testing.assert_allclose(
        codes[clear], np.array(golden["codes"])[clear], rtol=0, atol=TOLERANCE
    )
    tokens = np.array(golden["tokens"])[clear]
    np.testing.assert_array_equal(layer.codes_to_indices(codes[:, None])[clear], tokens)
    np.testing.assert_array_equal(layer.latents_to_indices(z)[clear], tokens)


def published_clamped_bound(z, levels, preset, eps, hard_clamp):
    """What vector-quantize-pytorch rounds, in float64; 0 for digit 0 or for digit L // 2."""
    squeeze = (lambda x: np.clip(x, -1, 1)) if hard_clamp else np.tanh
    level = levels[0]
    if preset == "symmetric":
        return (level - 1) * (squeeze(z.astype(float)) + 1) / 2
    half, offset = (level - 1) * (1 + eps) / 2, 0 if level % 2 else 0.5
    shift = offset / half if hard_clamp else np.arctanh(offset / half)
    return squeeze(z.astype(float) + shift) * half - offset


def check_codes_and_tokens(layer, z, golden):
    codes = layer(z)
    expected = np.array(golden["codes"]).reshape(z.shape)
    np.testing.assert_allclose(codes, expected, rtol=0, atol=TOLERANCE)
    assert layer.codes_to_indices(codes).numpy().tolist() == golden["tokens"]
    assert layer.latents_to_indices(z).numpy().tolist() == golden["tokens"]
    np.testing.assert_array_equal(layer.indices_to_codes(golden["tokens"]), codes)
