"""Laws of the layer's options: codebooks, linear maps, data format, noise, NaN, int8."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer.presets import PRESETS

pytestmark = pytest.mark.slow

LEVELS = {"ifsq": (7, 5, 5), "symmetric": (8, 2, 5)}


def latents(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def eager(function):
    return function


def jit(function):
    return tf.function(function, jit_compile=True)


modes = pytest.mark.parametrize("mode", [eager, tf.function, jit], ids=["eager", "graph", "jit"])
presets = pytest.mark.parametrize("preset", PRESETS)


# Codebooks


@modes
@presets
def test_several_codebooks_are_as_many_separate_layers(preset, mode):
    levels = LEVELS.get(preset, (8, 5, 4))
    together, alone = FSQ(levels, preset=preset, num_codebooks=3), FSQ(levels, preset=preset)
    z = latents(6, 7, 9)
    codes, tokens = mode(lambda z: (together(z), together.latents_to_indices(z)))(tf.constant(z))
    assert (tuple(codes.shape), tuple(tokens.shape)) == ((6, 7, 9), (6, 7, 3))
    for book, part in enumerate(np.split(z, 3, axis=-1)):
        np.testing.assert_array_equal(codes[..., 3 * book : 3 * book + 3], alone(part))
        np.testing.assert_array_equal(tokens[..., book], alone.latents_to_indices(part))
    np.testing.assert_array_equal(together.codes_to_indices(codes), tokens)
    np.testing.assert_array_equal(mode(together.indices_to_codes)(tokens), codes)
    digits = together.indices_to_digits(tokens)
    assert tuple(digits.shape) == (6, 7, 3, 3)
    np.testing.assert_array_equal(together.digits_to_indices(digits), tokens)


def test_codebooks_together_may_have_more_codes_than_int64_counts():
    layer = FSQ([1000] * 6, num_codebooks=4)
    assert (layer.num_dimensions, layer.num_channels) == (6, 24)
    tokens = layer.latents_to_indices(np.full((2, 24), 9e3, np.float32))
    assert tokens.numpy().tolist() == [[10**18 - 1] * 4] * 2


def test_an_unknown_batch_keeps_its_codebooks_apart():
    layer = FSQ([8, 5], num_codebooks=2)
    run = tf.function(layer.latents_to_indices, [tf.TensorSpec([None, None, 4], tf.float32)])
    z = latents(3, 5, 4)
    np.testing.assert_array_equal(run(z), layer.latents_to_indices(z))
    assert run(np.zeros((0, 5, 4), np.float32)).shape == (0, 5, 2)
    assert layer(keras.Input((7, 4))).shape == (None, 7, 4)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda layer: layer(latents(2, 3)),
            "FSQ: expected 6 channels in the last dimension for levels [3, 5, 4] and "
            "2 codebooks, got 3 in shape (2, 3).",
        ),
        (
            lambda layer: layer.indices_to_codes(np.zeros((2, 3), int)),
            "tokens: expected 2 in the last dimension, one per codebook, got shape (2, 3).",
        ),
    ],
)
def test_a_wrong_number_of_codebooks_is_refused(use, message):
    with pytest.raises(ValueError) as error:
        use(FSQ([3, 5, 4], num_codebooks=2))
    assert str(error.value) == message


# Linear maps


@modes
def test_linear_maps_lead_from_dim_to_the_channels_and_back(mode):
    layer, plain = FSQ([8, 5], num_codebooks=2, dim=16), FSQ([8, 5], num_codebooks=2)
    z = latents(50, 16)
    outputs, tokens = mode(lambda z: (layer(z), layer.latents_to_indices(z)))(tf.constant(z))
    assert (tuple(outputs.shape), tuple(tokens.shape)) == ((50, 16), (50, 2))
    np.testing.assert_array_equal(tokens, plain.latents_to_indices(layer.project_in(z)))
    codes = layer.indices_to_codes(tokens)
    np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)
    # The same sums in another order: a few units in the last place of values below 4.
    np.testing.assert_allclose(outputs, layer.project_out(codes), rtol=0, atol=1e-6)
    shapes = {weight.path.split("/")[-1]: tuple(weight.shape) for weight in layer.weights}
    assert shapes == {
        "project_in_kernel": (16, 4),
        "project_in_bias": (4,),
        "project_out_kernel": (4, 16),
        "project_out_bias": (16,),
    }


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_linear_maps_are_computed_in_float32_under_every_policy(policy):
    layer, float32 = FSQ([8, 5], dim=16, dtype=policy), FSQ([8, 5], dim=16)
    z = tf.cast(latents(10_000, 16), layer.compute_dtype)
    float32.build(z.shape)
    layer.build(z.shape)
    layer.set_weights(float32.get_weights())
    expected = float32.latents_to_indices(tf.cast(z, tf.float32))
    np.testing.assert_array_equal(layer.latents_to_indices(z), expected)
    assert layer(z).dtype == layer.compute_dtype
    assert layer.project_in(z).dtype == tf.float32
    plain = FSQ([8, 5])
    np.testing.assert_array_equal(plain.latents_to_indices(layer.project_in(z)), expected)


def test_a_model_saved_with_every_option_gives_the_same_tokens_again(tmp_path):
    layer = FSQ(
        [8, 2, 5],
        preset="symmetric",
        hard_clamp=True,
        num_codebooks=2,
        dim=12,
        data_format="channels_first",
        noise_dropout=0.25,
        seed=3,
        raise_on_nan=True,
    )
    z = latents(4, 12, 5, 5)
    model = keras.Sequential([keras.Input((12, 5, 5)), layer])
    config = json.loads(json.dumps(layer.get_config()))
    assert FSQ.from_config(config).get_config() == layer.get_config()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert loaded.get_config() == layer.get_config()
    np.testing.assert_array_equal(loaded.latents_to_indices(z), layer.latents_to_indices(z))
    np.testing.assert_array_equal(loaded(z), layer(z))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_int8_quantization_of_a_model_leaves_the_tokens_alone():
    layer = FSQ([8, 5, 5], dim=6, num_codebooks=2)
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(4)])
    z = latents(1000, 6)
    codes, tokens = layer(z).numpy(), layer.latents_to_indices(z).numpy()
    model.quantize("int8")
    assert keras.backend.standardize_dtype(model.layers[-1].kernel.dtype) == "int8"
    np.testing.assert_array_equal(layer(z), codes)
    np.testing.assert_array_equal(layer.latents_to_indices(z), tokens)
    assert model(z).shape == (1000, 4)


# Data format


@modes
@presets
@pytest.mark.parametrize("spatial", [(), (5,), (5, 6), (2, 5, 6)], ids=str)
def test_channels_first_is_channels_last_with_its_axes_moved(spatial, preset, mode):
    levels = LEVELS.get(preset, (8, 5, 4))
    options = {"levels": levels, "preset": preset, "num_codebooks": 2}
    first, last = FSQ(**options, data_format="channels_first"), FSQ(**options)
    z = latents(2, 6, *spatial)
    moved = np.moveaxis(z, 1, -1)
    codes, tokens = mode(lambda z: (first(z), first.latents_to_indices(z)))(tf.constant(z))
    np.testing.assert_array_equal(codes, np.moveaxis(last(moved), -1, 1))
    np.testing.assert_array_equal(tokens, last.latents_to_indices(moved))
    np.testing.assert_array_equal(first.codes_to_indices(codes), tokens)
    np.testing.assert_array_equal(first.indices_to_codes(tokens), codes)


def test_channels_are_last_unless_asked_otherwise():
    assert FSQ([8, 5, 5]).data_format == "channels_last"
    with pytest.raises(ValueError, match=r"expected 3 channels in the last dimension .* got 7"):
        FSQ([8, 5, 5])(latents(2, 3, 7, 7))
    with pytest.raises(ValueError, match=r"expected 3 channels in dimension 1 .* got 7"):
        FSQ([8, 5, 5], data_format="channels_first")(latents(2, 7, 7, 3))


# Noise


def noisy_layer(preset="atanh", seed=7):
    return FSQ(LEVELS.get(preset, (8, 5, 4)), preset=preset, noise_dropout=0.5, seed=seed)


@presets
def test_noise_is_for_training_only_and_never_in_tokens(preset):
    layer, clean = noisy_layer(preset), FSQ(noisy_layer(preset).levels, preset=preset)
    z = latents(1000, 3)
    np.testing.assert_array_equal(layer(z), clean(z))
    np.testing.assert_array_equal(layer(z, training=False), clean(z))
    noisy = layer(z, training=True).numpy()
    np.testing.assert_array_equal(layer.latents_to_indices(z), clean.latents_to_indices(z))
    change = noisy - layer(z).numpy()
    assert 0.45 < (change == 0).mean() < 0.55
    # Half a step of rounding undone, and at most half a step of noise; around the bounded value.
    levels = np.array(layer.levels)
    step = 2 / (levels - 1) if preset == "symmetric" else 1 / (levels // 2)
    assert (np.abs(change) <= step * 1.001).all()
    assert (np.abs(change).max(axis=0) > step * 0.8).all()
    assert (np.abs(change.mean(axis=0)) < step * 0.05).all()


def test_noise_follows_its_seed():
    z = latents(100, 3)
    once, again, other = noisy_layer(), noisy_layer(), noisy_layer(seed=8)
    first = once(z, training=True).numpy()
    np.testing.assert_array_equal(again(z, training=True), first)
    assert (other(z, training=True).numpy() != first).any()
    assert (once(z, training=True).numpy() != first).any()  # each call draws anew


@modes
def test_gradients_pass_the_noise_as_they_pass_the_rounding(mode):
    def gradient(layer, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            codes = layer(z, training=True)
        return tape.gradient(codes, z)

    z = tf.constant(latents(100, 3))
    noisy, clean = noisy_layer(), FSQ((8, 5, 4))
    # float32's 1 - tanh^2 is off by 1.2e-7 per rounding.
    found = mode(lambda z: gradient(noisy, z))(z)
    np.testing.assert_allclose(found, gradient(clean, z), rtol=0, atol=1e-6)


# NaN


def test_latents_that_are_nan_are_refused_where_that_is_asked():
    layer = FSQ([3, 5, 4], raise_on_nan=True)
    z = latents(10, 3)
    layer(z)
    z[3, 1] = z[5] = np.nan
    message = (
        "FSQ: expected latents without NaN, got 4 in 30 values. Check the encoder; "
        "with raise_on_nan=False they give the token -1."
    )
    for use in (layer, layer.latents_to_indices, FSQ([3, 5, 4], raise_on_nan=True)):
        with pytest.raises(ValueError) as error:
            use(z)
        assert message in str(error.value)


@pytest.mark.parametrize("raise_on_nan", [False, True])
@pytest.mark.parametrize("levels", [(3, 5, 4), (1000, 1000, 999)], ids=str)
@pytest.mark.parametrize("preset", ["atanh", "official", "torch", "symmetric"])
@pytest.mark.parametrize("mode", [tf.function, jit], ids=["graph", "jit"])
def test_nan_is_marked_in_a_compiled_graph_with_and_without_the_switch(
    mode, preset, levels, raise_on_nan
):
    layer = FSQ(levels, preset=preset, raise_on_nan=raise_on_nan)
    z = np.array([[0.25, 0.6, -7], [0.25, np.nan, -7], [np.nan] * 3], np.float32)
    codes, tokens = mode(lambda z: (layer(z), layer.latents_to_indices(z)))(tf.constant(z))
    np.testing.assert_array_equal(np.isnan(codes), np.isnan(z))
    assert (tokens[0] >= 0, tokens[1:].numpy().tolist()) == (True, [-1, -1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_codebooks": 0}, "num_codebooks: expected an integer of at least 1, got 0."),
        ({"num_codebooks": True}, "num_codebooks: expected an integer of at least 1, got True."),
        ({"dim": 1.5}, "dim: expected an integer of at least 1, got 1.5."),
        (
            {"data_format": "NHWC"},
            "data_format: expected 'channels_last' or 'channels_first', got 'NHWC'.",
        ),
        ({"noise_dropout": 1.1}, "noise_dropout: expected a value in [0, 1], got 1.1."),
        (
            {"hard_clamp": True},
            "hard_clamp: expected one of the presets ['torch', 'symmetric'], got 'atanh'.",
        ),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError) as error:
        FSQ([8, 5, 5], **options)
    assert str(error.value) == message
