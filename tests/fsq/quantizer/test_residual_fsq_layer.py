"""Laws of residual FSQ: each stage leaves less over, and the first ones decode alone."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsq import ResidualFSQ

LEVELS = (8, 5, 5, 3)


def latents(count=20_000, levels=LEVELS, seed=0):
    return np.random.default_rng(seed).normal(size=(count, len(levels))).astype(np.float32)


def soft_clamped(z, levels=LEVELS):
    reach = 1 + 1 / (np.array(levels) - 1)
    return np.tanh(z / reach) * reach


def eager(function):
    return function


def jit(function):
    return tf.function(function, jit_compile=True)


modes = pytest.mark.parametrize("mode", [eager, tf.function, jit], ids=["eager", "graph", "jit"])


def test_the_error_falls_with_each_stage_as_measured():
    layer = ResidualFSQ(LEVELS, 4)
    z = latents()
    tokens = layer.latents_to_indices(z).numpy()
    errors = [
        np.abs(layer.indices_to_codes(tokens[:, :stages]).numpy() - soft_clamped(z)).max()
        for stages in (1, 2, 3, 4)
    ]
    # The three levels of the last channel: 1/2, 1/6, 1/18, 1/54 at most, nearly reached.
    np.testing.assert_allclose(errors, [0.498, 0.165, 0.055, 0.018], rtol=0, atol=0.003)


@pytest.mark.parametrize("levels", [(2, 2), (3,) * 5, (8, 5, 5, 3), (16, 7)], ids=str)
def test_no_error_exceeds_half_a_step_of_its_stage(levels):
    layer = ResidualFSQ(levels, 5)
    z = 3 * latents(levels=levels)
    tokens = layer.latents_to_indices(z).numpy()
    for stage in range(5):
        codes = layer.indices_to_codes(tokens[:, : stage + 1]).numpy()
        half_step = layer.scales[stage] / (np.array(levels) - 1)
        # float32 is off by a few 1e-7.
        assert (np.abs(codes - soft_clamped(z, levels)) <= half_step + 1e-6).all()


@pytest.mark.slow
@modes
def test_all_stages_decode_to_what_the_layer_gave(mode):
    layer = ResidualFSQ(LEVELS, 4)
    z = tf.constant(latents())
    codes, tokens = mode(lambda z: (layer(z), layer.latents_to_indices(z)))(z)
    assert tokens.dtype == tf.int32
    # XLA may keep more digits of a stage's product than it writes: the last place of 1.
    tolerance = 1.2e-7 if mode is jit else 0
    decoded = mode(layer.indices_to_codes)(tokens)
    np.testing.assert_allclose(decoded, codes, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_tokens_and_codes_are_the_same_in_every_mode_but_for_ties(tmp_path):
    class Both(tf.Module):
        def __init__(self):
            super().__init__()
            self.layer = ResidualFSQ(LEVELS, 4)
            self.layer.build((None, 4))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def run(self, z):
            return self.layer(z), self.layer.latents_to_indices(z)

    module, z = Both(), latents()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    dataset = tf.data.Dataset.from_tensors(z).map(module.run).get_single_element()
    loaded = tf.saved_model.load(str(tmp_path / "saved")).run(z)
    for codes, tokens in (dataset, loaded, module.run(z)):
        np.testing.assert_array_equal(codes, module.layer(z))
        np.testing.assert_array_equal(tokens, module.layer.latents_to_indices(z))
    jitted = jit(module.layer.latents_to_indices)(z).numpy()
    assert (jitted != module.layer.latents_to_indices(z).numpy()).any(axis=1).sum() <= 5


def test_a_dropped_stage_decodes_to_zero():
    layer = ResidualFSQ(LEVELS, 3)
    tokens = layer.latents_to_indices(latents(10)).numpy()
    first_two = layer.indices_to_codes(tokens[:, :2]).numpy()
    tokens[:, 2] = -1
    np.testing.assert_array_equal(layer.indices_to_codes(tokens), first_two)
    np.testing.assert_array_equal(layer.indices_to_codes(np.full((5, 3), -1)), np.zeros((5, 4)))


def test_dropout_uses_fewer_stages_while_training_only():
    layer = ResidualFSQ(LEVELS, 4, quantize_dropout=True, seed=1)
    z = latents(50)
    tokens = layer.latents_to_indices(z)
    clean = ResidualFSQ(LEVELS, 4)
    np.testing.assert_array_equal(tokens, clean.latents_to_indices(z))
    np.testing.assert_array_equal(layer(z, training=False), clean(z))
    by_stages = [clean.indices_to_codes(tokens[:, : k + 1]).numpy() for k in range(4)]
    drawn = [layer(z, training=True).numpy() for _ in range(40)]
    used = [
        [np.array_equal(codes, expected) for expected in by_stages].index(True) for codes in drawn
    ]
    assert set(used) == {0, 1, 2, 3}
    again = ResidualFSQ(LEVELS, 4, quantize_dropout=True, seed=1)
    np.testing.assert_array_equal([again(z, training=True) for _ in range(40)], drawn)


@modes
@pytest.mark.parametrize("quantize_dropout", [False, True])
def test_gradients_are_those_of_the_soft_clamp(quantize_dropout, mode):
    layer = ResidualFSQ(LEVELS, 4, quantize_dropout=quantize_dropout)
    z = latents(100)

    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            codes = layer(z, training=True)
        return tape.gradient(codes, z)

    reach = 1 + 1 / (np.array(LEVELS) - 1)
    expected = 1 - np.tanh(z / reach) ** 2
    found = mode(gradient)(tf.constant(z))
    # float32's 1 - tanh^2 is off by 1.2e-7 per rounding.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_stages_are_computed_in_float32_under_every_policy(policy):
    layer, float32 = ResidualFSQ(LEVELS, 4, dtype=policy), ResidualFSQ(LEVELS, 4)
    z = tf.cast(latents(), layer.compute_dtype)
    rounded = tf.cast(z, tf.float32)
    np.testing.assert_array_equal(layer.latents_to_indices(z), float32.latents_to_indices(rounded))
    assert layer(z).dtype == layer.compute_dtype
    np.testing.assert_array_equal(layer(z), tf.cast(float32(rounded), layer.compute_dtype))


def test_a_saved_model_keeps_its_stages(tmp_path):
    layer = ResidualFSQ([5, 3], 3, soft_clamp=False, quantize_dropout=True, seed=4)
    assert ResidualFSQ.from_config(json.loads(json.dumps(layer.get_config()))).get_config() == (
        layer.get_config()
    )
    keras.Sequential([keras.Input((2,)), layer]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    z = latents(100, levels=(5, 3))
    np.testing.assert_array_equal(loaded.latents_to_indices(z), layer.latents_to_indices(z))


def test_nan_and_extremes_never_leave_the_range():
    layer = ResidualFSQ(LEVELS, 3)
    z = np.full((5, 4), np.array([[np.nan], [np.inf], [-np.inf], [1e4], [-1e4]]), np.float32)
    tokens = layer.latents_to_indices(z).numpy()
    assert tokens[0].tolist() == [-1] * 3
    assert tokens[1].tolist() == tokens[3].tolist() == [599] * 3
    assert tokens[2].tolist() == tokens[4].tolist() == [0] * 3


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            np.zeros((2, 5), int),
            "tokens: expected 1 to 4 in the last dimension, one per stage, got shape (2, 5).",
        ),
        (7, "tokens: expected 1 to 4 in the last dimension, one per stage, got shape ()."),
        ([[600]], "tokens: expected values in [0, 600), got 1 outside, the first is 600."),
        ([[-2, 0]], "tokens: expected values in [0, 600), got 1 outside, the first is -2."),
        ([[0.5]], "tokens: expected integers, got float64."),
    ],
)
def test_tokens_of_no_stage_are_refused(tokens, message):
    with pytest.raises(ValueError) as error:
        ResidualFSQ(LEVELS, 4).indices_to_codes(tokens)
    assert str(error.value) == message


def test_what_is_no_residual_layer_is_refused():
    with pytest.raises(
        ValueError, match="num_quantizers: expected an integer of at least 1, got 0"
    ):
        ResidualFSQ(LEVELS, 0)
    with pytest.raises(ValueError, match="expected 4 channels in the last dimension"):
        ResidualFSQ(LEVELS, 2)(latents(levels=(5, 3)))


def test_more_stages_than_float32_resolves_are_refused():
    assert ResidualFSQ([8, 8], 9).num_quantizers == 9
    with pytest.raises(ValueError, match="expected stages that float32 resolves, got 10"):
        ResidualFSQ([8, 8], 10)
