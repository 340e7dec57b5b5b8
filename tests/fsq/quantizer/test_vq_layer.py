"""The VQ layer obeys the quantizer's interface, and does what VQ does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsq.quantizer.vq_layer import VQ


@pytest.fixture
def layer() -> VQ:
    layer = VQ(32, 4, seed=1)
    layer.build((None, 4))
    return layer


def latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*shape, 4)).astype(np.float32)


def test_a_token_names_the_nearest_code(layer: VQ):
    z = latents(3, 5)
    distances = np.square(z[..., None, :] - np.asarray(layer.codebook)).sum(-1)
    tokens = np.asarray(layer.latents_to_indices(z))
    np.testing.assert_array_equal(tokens, distances.argmin(-1))
    # Straight through is z + (code - z), so the last bits are those of a sum.
    np.testing.assert_allclose(layer(z), layer.indices_to_codes(tokens), rtol=0, atol=1e-6)


def test_every_code_has_its_own_token(layer: VQ):
    tokens = np.arange(32)
    np.testing.assert_array_equal(layer.latents_to_indices(layer.indices_to_codes(tokens)), tokens)


def test_the_gradient_passes_straight_through_beside_the_commitment(layer: VQ):
    z = tf.constant(latents(7))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        codes = layer(z)
        total = tf.reduce_sum(codes)
        (commitment,) = layer.losses
    np.testing.assert_array_equal(tape.gradient(total, z), np.ones((7, 4)))
    assert float(commitment) == pytest.approx(
        0.25 * np.square(z.numpy() - codes.numpy()).mean(), rel=1e-5
    )
    np.testing.assert_allclose(
        tape.gradient(commitment, z), 0.25 * 2 * (z - codes) / 28, rtol=1e-4, atol=1e-7
    )


def test_a_code_moves_to_the_mean_of_its_latents_in_training_only(layer: VQ):
    before = np.asarray(layer.codebook).copy()
    z = before[5] + 0.01 * latents(50)
    layer(z, training=False)
    np.testing.assert_array_equal(layer.codebook, before)
    assert np.unique(layer.latents_to_indices(z)).tolist() == [5]
    train = tf.function(lambda z: layer(z, training=True), autograph=False)
    for _ in range(3000):
        train(z)
    np.testing.assert_allclose(layer.codebook[5], z.mean(0), atol=1e-3)
    others = np.arange(32) != 5
    np.testing.assert_allclose(np.asarray(layer.codebook)[others], before[others], rtol=1e-3)


def test_a_keras_file_keeps_codebook_and_averages(layer: VQ, tmp_path):
    layer(latents(20), training=True)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "vq.keras")
    loaded = keras.saving.load_model(tmp_path / "vq.keras", custom_objects={"VQ": VQ}).layers[-1]
    for one, two in zip(layer.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, two)
