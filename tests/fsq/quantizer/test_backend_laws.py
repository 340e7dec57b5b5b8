"""Laws in keras.ops and NumPy alone: they hold on whichever backend Keras runs.

Collected twice: here on TensorFlow, and by test_jax.py in a process on JAX.
"""

import keras
import numpy as np
import pytest
from keras import ops

from fsq import FSQ, ResidualFSQ
from fsq.quantizer import lattice
from fsq.quantizer.ops import bound
from fsq.quantizer.presets import PRESETS
from fsq.quantizer.presets import bound as float64_bound

BACKEND = keras.backend.backend()
LEVELS = {"ifsq": (7, 5, 5, 3), "symmetric": (8, 2, 5, 6)}

presets = pytest.mark.parametrize("preset", PRESETS)
modes = pytest.mark.parametrize("mode", ["eager", "compiled"])
only_on_jax = pytest.mark.skipif(BACKEND != "jax", reason="a law about JAX")


def compiled(mode, function):
    if mode == "eager":
        return function
    if BACKEND == "torch":
        pytest.skip("PyTorch runs eagerly")
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def gradient_of_codes(layer, z):
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda z: ops.sum(layer(z)))(ops.convert_to_tensor(z)))
    if BACKEND == "torch":
        z = ops.convert_to_tensor(z).requires_grad_()
        ops.sum(layer(z)).backward()
        return array(z.grad)
    import tensorflow as tf

    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        codes = layer(z)
    return tape.gradient(codes, z).numpy()


def array(x):
    return ops.convert_to_numpy(x)


def latents(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def layer_of(preset, **options):
    return FSQ(LEVELS.get(preset, (8, 5, 5, 4)), preset=preset, **options)


@modes
@presets
def test_tokens_are_those_of_the_bound_in_float64_away_from_ties(preset, mode):
    layer, z = layer_of(preset), latents(50_000, 4)
    exact = float64_bound(z, layer.levels, preset)
    tie = 0.0 if preset == "symmetric" else 0.5
    distance = np.abs(exact - tie - np.round(exact - tie))
    clear = (distance > 1e-5).all(axis=-1)
    rounded = np.floor(exact) if preset == "symmetric" else np.rint(exact)
    digits = rounded if preset == "symmetric" else rounded + np.array(layer.levels) // 2
    expected = lattice.digits_to_tokens(digits.astype(int), layer.levels)
    found = array(compiled(mode, layer.latents_to_indices)(ops.convert_to_tensor(z)))
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.999


@modes
@presets
def test_every_token_survives_its_code_and_its_digits(preset, mode):
    layer = layer_of(preset)
    tokens = np.arange(layer.codebook_size, dtype=np.int32)
    codes = compiled(mode, layer.indices_to_codes)(ops.convert_to_tensor(tokens))
    np.testing.assert_array_equal(codes, layer.codebook)
    np.testing.assert_array_equal(compiled(mode, layer.codes_to_indices)(codes), tokens)
    digits = compiled(mode, layer.indices_to_digits)(ops.convert_to_tensor(tokens))
    np.testing.assert_array_equal(digits, lattice.tokens_to_digits(tokens, layer.levels))
    np.testing.assert_array_equal(compiled(mode, layer.digits_to_indices)(digits), tokens)


@modes
@presets
def test_codes_of_latents_give_the_tokens_of_latents(preset, mode):
    layer, z = layer_of(preset), latents(20_000, 4)
    run = compiled(mode, lambda z: (layer(z), layer.latents_to_indices(z)))
    codes, tokens = run(ops.convert_to_tensor(z))
    np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)


@presets
def test_extreme_latents_give_the_outermost_digits_of_every_level(preset):
    lowest, step = (2, 1) if preset == "symmetric" else (3, 2 if preset == "ifsq" else 1)
    every = list(range(lowest, 1002, step))
    for levels in (every[start : start + 6] for start in range(0, len(every), 6)):
        z = np.repeat(np.array([[1e4], [np.inf], [-1e4], [-np.inf]], "float32"), len(levels), 1)
        steps = array(ops.cast(bound(ops.convert_to_tensor(z), levels, preset), "float32"))
        rounded = np.floor(steps) if preset == "symmetric" else np.rint(steps)
        digits = rounded if preset == "symmetric" else rounded + np.array(levels) // 2
        highest = [level - 1 for level in levels]
        assert digits.tolist() == [highest, highest, [0] * len(levels), [0] * len(levels)]


@pytest.mark.parametrize("preset", ["atanh", "torch"])
@modes
def test_the_bound_of_zero_is_zero_in_float32(preset, mode):
    every = list(range(4, 1002, 2))  # odd levels have no shift
    lattices = [every[start : start + 6] for start in range(0, len(every), 6)]
    zeros = ops.zeros(6)
    run = lambda zeros: [bound(zeros[: len(levels)], levels, preset) for levels in lattices]
    for levels, value in zip(lattices, compiled(mode, run)(zeros), strict=True):
        assert np.abs(array(value)).max() <= 1e-7, levels


@presets
def test_gradients_are_the_slope_of_the_bound(preset):
    layer, z, step = layer_of(preset), latents(500, 4), 1e-5
    exact = lambda z: float64_bound(z, layer.levels, preset)
    slope = (exact(z + step) - exact(z.astype(float) - step)) / (2 * step)
    symmetric = preset == "symmetric"
    expected = slope / lattice.code_centers(layer.levels, symmetric=symmetric)
    # float32's tanh and latents: errors of 1e-7 in a slope below 2.
    np.testing.assert_allclose(gradient_of_codes(layer, z), expected, rtol=0, atol=2e-3)
    assert np.isfinite(gradient_of_codes(layer, np.full((2, 4), 1e4, np.float32))).all()


@modes
def test_nan_and_what_lies_outside_is_marked(mode):
    layer = FSQ([3, 5, 4], preset="official")
    z = np.array([[0.25, 0.6, -7], [0.25, np.nan, -7]], np.float32)
    found = compiled(mode, layer.latents_to_indices)(ops.convert_to_tensor(z))
    assert array(found).tolist() == [10, -1]
    if mode == "compiled":
        codes = ops.convert_to_tensor(np.array([[0, 0.5, -1], [0, 0, 1]], np.float32))
        assert array(compiled(mode, layer.codes_to_indices)(codes)).tolist() == [10, -1]
        tokens = compiled(mode, layer.indices_to_codes)(ops.convert_to_tensor(np.array([10, 60])))
        np.testing.assert_array_equal(tokens, np.array([[0, 0.5, -1], [np.nan] * 3], np.float32))
    else:
        for use in (layer.codes_to_indices, layer.indices_to_codes):
            with pytest.raises(ValueError, match="expected"):
                use(np.full((1, 3), 77))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_option_at_once(policy):
    options = {"num_codebooks": 2, "dim": 6, "data_format": "channels_first"}
    layer = FSQ([8, 5], **options, noise_dropout=0.5, seed=1, dtype=policy)
    z = ops.cast(latents(3, 6, 4, 4), layer.compute_dtype)
    outputs, tokens = layer(z), layer.latents_to_indices(z)
    assert (tuple(outputs.shape), tuple(tokens.shape)) == ((3, 6, 4, 4), (3, 4, 4, 2))
    codes = layer.indices_to_codes(tokens)
    assert keras.backend.standardize_dtype(codes.dtype) == layer.compute_dtype
    np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)
    assert (array(ops.cast(layer(z, training=True) - outputs, "float32")) != 0).any()
    np.testing.assert_array_equal(layer.latents_to_indices(z), tokens)


@modes
def test_residual_stages_leave_less_over(mode):
    layer, z = ResidualFSQ([8, 5, 5, 3], 4), latents(5000, 4)
    tokens = array(compiled(mode, layer.latents_to_indices)(ops.convert_to_tensor(z)))
    reach = 1 + 1 / (np.array(layer.levels) - 1)
    clamped = np.tanh(z / reach) * reach
    for stages in range(1, 5):
        error = np.abs(array(layer.indices_to_codes(tokens[:, :stages])) - clamped)
        assert (error <= layer.scales[stages - 1] / (np.array(layer.levels) - 1) + 1e-6).all()
    # The last place of 1.
    np.testing.assert_allclose(layer.indices_to_codes(tokens), layer(z), rtol=0, atol=2e-7)


def test_a_keras_file_gives_the_same_tokens(tmp_path):
    layer, z = layer_of("official", dim=6), latents(100, 6)
    keras.Sequential([keras.Input((6,)), layer]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    np.testing.assert_array_equal(loaded.latents_to_indices(z), layer.latents_to_indices(z))


@only_on_jax
def test_jax_without_64_bits_refuses_tokens_that_need_them():
    layer = FSQ([1000] * 6)
    z = latents(2, 6)
    assert layer(z).shape == (2, 6)  # codes need none
    for use in (
        lambda: layer.latents_to_indices(z),
        lambda: layer.codes_to_indices(layer(z)),
        lambda: layer.indices_to_codes(np.array([10**17])),
        lambda: layer.digits_to_indices(np.zeros((1, 6), int)),
    ):
        with pytest.raises(ValueError) as error:
            use()
        assert str(error.value) == (
            f"FSQ: expected int64 for {10**18} tokens, got int32 from JAX. Set JAX_ENABLE_X64=1, "
            "or call jax.config.update('jax_enable_x64', True) first."
        )


@only_on_jax
def test_jax_with_64_bits_counts_to_10_to_the_18():
    import jax

    with jax.enable_x64(True):
        layer = FSQ([1000] * 6)
        tokens = np.random.default_rng(0).integers(layer.codebook_size, size=100_000)
        codes = layer.indices_to_codes(tokens)
        np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)
        highest = layer.latents_to_indices(np.full((1, 6), 9e3, np.float32))
        assert array(highest).tolist() == [10**18 - 1]
