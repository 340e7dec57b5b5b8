"""Laws of the straight-through gradient and of the rounding below it."""

import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer.ops import round_straight_through
from fsq.quantizer.presets import PRESETS

DTYPES = ("float16", "bfloat16", "float32", "float64")
NUMPY_TYPES = {dtype: tf.dtypes.as_dtype(dtype).as_numpy_dtype for dtype in DTYPES}
BITS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}


def eager(function):
    return function


def graph(function):
    return tf.function(function)


def jit(function):
    return tf.function(function, jit_compile=True)


modes = pytest.mark.parametrize("mode", [eager, graph, jit])


def gradient_of_codes(layer, mode, z, upstream=None):
    """d codes / d z, as NumPy; `upstream` weighs the codes, 1 if None."""

    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            codes = layer(z)
        return tape.gradient(codes, z, output_gradients=upstream)

    return mode(gradient)(tf.constant(z)).numpy()


@modes
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (5, [0.07058, 0.78566, 0.999, 0.78566, 0.07058, 0.0]),
        (8, [0.08139, 0.77206, 0.85625, 0.59250, 0.04672, 0.0]),
        (4, [0.10217, 0.73190, 0.66598, 0.39325, 0.02695, 0.0]),
    ],
)
def test_gradients_are_those_of_the_bound_as_if_nothing_were_rounded(level, expected, mode):
    layer = FSQ([level], preset="official")
    z = np.array([-2, -0.5, 0, 0.5, 2, 10], np.float32)[:, None]
    found = gradient_of_codes(layer, mode, z)[:, 0]
    # Five decimals are written, and their last one is what the paper's code agrees to.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_are_the_slope_of_the_published_bound(preset, published_bound, fit_levels):
    levels = fit_levels((3, 4, 5, 8, 17, 100, 1001), preset)
    z = np.random.default_rng(0).normal(size=(1000, len(levels)))
    step = 1e-5
    slope = published_bound(z + step, levels, preset) - published_bound(z - step, levels, preset)
    width = np.array(levels) - 1 if preset == "symmetric" else np.array(levels) // 2 * 2
    expected = slope / step / width
    found = gradient_of_codes(FSQ(levels, preset=preset), eager, z.astype(np.float32))
    # float32's 1 - tanh^2 is off by 1.2e-7 per rounding, the central difference by 1e-10.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@modes
def test_gradients_scale_with_what_comes_from_above(mode):
    layer = FSQ([8, 5, 5, 5])
    random = np.random.default_rng(0)
    z = random.normal(size=(100, 4)).astype(np.float32)
    upstream = random.normal(size=(100, 4)).astype(np.float32)
    # Not the same expression twice: one rounds the product, the other its factors.
    np.testing.assert_allclose(
        gradient_of_codes(layer, mode, z, upstream=tf.constant(upstream)),
        gradient_of_codes(layer, mode, z) * upstream,
        rtol=1e-6,
    )


@pytest.mark.slow
@modes
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16", "mixed_float16"])
def test_gradients_are_finite_and_vanish_at_extreme_inputs(preset, policy, mode, fit_levels):
    layer = FSQ(fit_levels([3, 4, 8, 1001], preset), preset=preset, dtype=policy)
    column = np.array([[1e4], [-1e4], [np.inf], [-np.inf], [50], [-50]])
    z = np.repeat(column, 4, axis=1).astype(NUMPY_TYPES[layer.compute_dtype])
    found = gradient_of_codes(layer, mode, z)
    assert found.dtype == z.dtype
    np.testing.assert_array_equal(found, np.zeros_like(z))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gradients_are_float32_gradients_rounded_once(policy):
    layer = FSQ([8, 5, 5, 5], dtype=policy)
    half = NUMPY_TYPES[layer.compute_dtype]
    z = np.random.default_rng(0).normal(size=(10_000, 4)).astype(half)
    expected = gradient_of_codes(FSQ([8, 5, 5, 5]), eager, z.astype(np.float32))
    np.testing.assert_array_equal(gradient_of_codes(layer, eager, z), expected.astype(half))


@modes
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_half_to_even_bit_for_bit(dtype, mode):
    values = values_to_round(dtype)
    # float64 holds every value of the narrower types, and every integer near them.
    expected = np.rint(values.astype(np.float64)).astype(NUMPY_TYPES[dtype])
    found = mode(lambda x: round_straight_through(x, "atanh"))(tf.constant(values)).numpy()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found.view(BITS[dtype]), expected.view(BITS[dtype]))


@modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_symmetric_rounding_is_down_bit_for_bit(dtype, mode):
    values = values_to_round(dtype)
    # CPU kernels may take a subnormal for 0.
    values = values[(values == 0) | (np.abs(values) >= np.finfo(dtype).tiny)]
    found = mode(lambda x: round_straight_through(x, "symmetric"))(tf.constant(values)).numpy()
    np.testing.assert_array_equal(found.view(BITS[dtype]), np.floor(values).view(BITS[dtype]))


@modes
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_rounding_is_the_gradient_from_above_bit_for_bit(dtype, mode):
    values = values_to_round(dtype)
    upstream = np.random.default_rng(1).permutation(values)

    def gradient(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            rounded = round_straight_through(x, "atanh")
        return tape.gradient(rounded, x, output_gradients=upstream)

    found = mode(gradient)(tf.constant(values), tf.constant(upstream)).numpy()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found.view(BITS[dtype]), upstream.view(BITS[dtype]))


def values_to_round(dtype):
    """All values of the 16-bit types; of the wider ones ties, their neighbours, random bits."""
    if dtype in ("float16", "bfloat16"):
        values = np.arange(2**16, dtype=np.uint16).view(NUMPY_TYPES[dtype])
    else:
        ties = (np.arange(-(2**17), 2**17) + 0.5).astype(dtype)
        bits = np.random.default_rng(0).integers(
            np.iinfo(BITS[dtype]).max, size=500_000, dtype=BITS[dtype], endpoint=True
        )
        values = np.concatenate(
            [
                ties,
                np.nextafter(ties, ties.dtype.type(-np.inf)),
                np.nextafter(ties, ties.dtype.type(np.inf)),
                np.array([0.0, -0.0, np.inf, -np.inf], dtype),
                bits.view(dtype),
            ]
        )
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return values[~np.isnan(values)]
