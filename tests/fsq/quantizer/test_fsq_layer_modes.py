"""The FSQ layer gives the same tokens however TensorFlow runs it, in every float type."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer.ops import divide
from fsq.quantizer.presets import PRESETS

pytestmark = pytest.mark.slow

STORAGE_TYPES = ("float32", "bfloat16", "float16")


def eager(function):
    return function


def graph(function):
    return tf.function(function)


def jit(function):
    return tf.function(function, jit_compile=True)


compiled = pytest.mark.parametrize("mode", [graph, jit])
modes = pytest.mark.parametrize("mode", [eager, graph, jit])
presets = pytest.mark.parametrize("preset", PRESETS)


def count_for(preset):
    """Half a million latents for the default preset; the others share all but its constants."""
    return 500_000 if preset == "atanh" else 50_000


# Tokens to codes and back


def round_trips(layer):
    """A function from tokens to the tokens of their codes, one stored in each float type."""

    def run(tokens):
        codes = layer.indices_to_codes(tokens)
        return [layer.codes_to_indices(tf.cast(codes, dtype)) for dtype in STORAGE_TYPES]

    return run


@modes
@pytest.mark.parametrize("preset", ["atanh", "symmetric"])  # the two lattices
def test_every_token_survives_its_code_in_every_float_type(levels, preset, mode):
    layer = FSQ(levels, preset=preset)
    tokens = tf.range(layer.codebook_size)
    for dtype, found in zip(STORAGE_TYPES, mode(round_trips(layer))(tokens), strict=True):
        np.testing.assert_array_equal(found, tokens, err_msg=dtype)


@pytest.fixture(scope="session")
def saved_round_trips(level_sets, tmp_path_factory):
    """The round trips of all lattices by levels, saved once and loaded again."""
    module = tf.Module()
    signature = [tf.TensorSpec([None], tf.int32)]
    for index, levels in enumerate(level_sets):
        setattr(module, f"run_{index}", tf.function(round_trips(FSQ(levels)), signature))
    path = str(tmp_path_factory.mktemp("saved") / "model")
    tf.saved_model.save(module, path)
    loaded = tf.saved_model.load(path)
    return {levels: getattr(loaded, f"run_{index}") for index, levels in enumerate(level_sets)}


def test_every_token_survives_its_code_in_a_saved_model(levels, saved_round_trips):
    tokens = tf.range(FSQ(levels).codebook_size)
    for dtype, found in zip(STORAGE_TYPES, saved_round_trips[levels](tokens), strict=True):
        np.testing.assert_array_equal(found, tokens, err_msg=dtype)


@compiled
def test_tokens_of_a_large_lattice_survive_their_codes_when_compiled(large_levels, mode):
    layer = FSQ(large_levels)
    tokens = np.random.default_rng(0).integers(layer.codebook_size, size=200_000)
    tokens[:2] = 0, layer.codebook_size - 1

    @mode
    def run(tokens):
        codes = layer.indices_to_codes(tokens)
        digits = layer.indices_to_digits(tokens)
        return layer.codes_to_indices(codes), layer.digits_to_indices(digits)

    for found in run(tf.constant(tokens)):
        np.testing.assert_array_equal(found, tokens)


@pytest.mark.parametrize(
    ("preset", "dtype", "highest"),
    [
        ("atanh", "bfloat16", 511),
        ("atanh", "float16", 1001),
        ("symmetric", "bfloat16", 512),
        ("symmetric", "float16", 1001),
    ],
)
def test_half_precision_keeps_every_digit_up_to_the_highest_level(preset, dtype, highest):
    for start in range(3, highest + 1, 6):
        levels = tuple(range(start, min(start + 6, highest + 1)))
        layer = FSQ(levels, preset=preset)
        digits = np.minimum(np.arange(max(levels))[:, None], np.array(levels) - 1)
        tokens = layer.digits_to_indices(digits)
        stored = tf.cast(layer.indices_to_codes(tokens), dtype)
        np.testing.assert_array_equal(layer.codes_to_indices(stored), tokens)


@modes
def test_codes_in_a_float_type_that_is_too_coarse_are_refused(mode):
    layer = FSQ([8, 512])
    with pytest.raises(ValueError) as error:
        mode(layer.codes_to_indices)(tf.zeros([3, 2], tf.bfloat16))
    assert (
        "codes_to_indices: expected codes in a dtype that resolves 512 levels, got "
        "bfloat16. Keep the codes in float32, or use latents_to_indices." in str(error.value)
    )


@compiled
def test_a_compiled_graph_marks_what_lies_outside_the_lattice(mode):
    layer = FSQ([3, 5, 4])
    nan = np.nan
    codes = np.array([[0, 0.5, -1], [0, nan, -1], [0, 0, 1], [-1.5, 0, 0], [0, np.inf, 0]], "f4")
    latents = np.array([[0.25, 0.6, -7], [0.25, nan, -7]], "f4")
    tokens = np.array([10, -1, 60, -(2**31), 2**31 - 1], "i4")
    digits = np.array([[1, 3, 0], [3, 0, 0], [0, -1, 0], [0, 0, 4]])

    assert mode(layer.codes_to_indices)(codes).numpy().tolist() == [10, -1, -1, -1, -1]
    assert mode(layer.latents_to_indices)(latents).numpy().tolist() == [10, -1]
    assert mode(layer.digits_to_indices)(digits).numpy().tolist() == [10, -1, -1, -1]
    assert mode(layer.indices_to_digits)(tokens).numpy().tolist() == [[1, 3, 0]] + [[-1] * 3] * 4
    np.testing.assert_array_equal(
        mode(layer.indices_to_codes)(tokens), np.array([[0, 0.5, -1]] + [[nan] * 3] * 4, "f4")
    )


@compiled
def test_64_bit_integers_outside_the_range_are_marked_and_not_wrapped(mode):
    layer = FSQ([8, 5, 5, 5])
    tokens = tf.constant([2**32 + 5, 2**40, 5, -(2**40)], tf.int64)
    digits = tf.constant([[2**32 + 1, 0, 0, 0], [1, 0, 0, 0]], tf.int64)
    outside = np.isnan(mode(layer.indices_to_codes)(tokens)).all(axis=-1)
    assert outside.tolist() == [True, True, False, True]
    assert mode(layer.digits_to_indices)(digits).numpy().tolist() == [-1, 1]


@modes
def test_latents_given_as_codes_are_found_out(mode):
    layer = FSQ([8, 5, 5, 5])
    latents = np.random.default_rng(0).uniform(-1, 0.7, (1000, 4)).astype(np.float32)
    if mode is eager:
        with pytest.raises(ValueError, match="off it or NaN"):
            layer.codes_to_indices(latents)
    else:
        found = mode(layer.codes_to_indices)(latents).numpy()
        assert (found == -1).mean() > 0.9


@compiled
@presets
def test_extreme_latents_give_the_outermost_digits_when_compiled(preset, mode, fit_levels):
    levels = fit_levels((3, 4, 255, 256, 998, 1001), preset)
    layer = FSQ(levels, preset=preset)
    z = np.repeat(np.array([[1e4], [np.inf], [-1e4], [-np.inf]], np.float32), len(levels), axis=1)
    digits = mode(lambda z: layer.indices_to_digits(layer.latents_to_indices(z)))(z)
    highest, lowest = [level - 1 for level in levels], [0] * len(levels)
    assert digits.numpy().tolist() == [highest, highest, lowest, lowest]


# Latents to codes and tokens: every mode against eager


class CodesAndTokens(keras.Model):
    """The layer as part of a model, with both of its results."""

    def __init__(self, fsq):
        super().__init__()
        self.fsq = fsq

    def call(self, z):
        return {"codes": self.fsq(z), "tokens": self.fsq.latents_to_indices(z)}


# 1023 is odd on purpose: the last values of a batch take another path than full vectors.
BATCH_SIZE = 1023


def through_a_graph(model, z, directory):
    return tf.function(model)(z)


def through_predict(model, z, directory):
    return model.predict(z, batch_size=BATCH_SIZE, verbose=0)


def through_a_dataset(model, z, directory):
    batches = list(tf.data.Dataset.from_tensor_slices(z).batch(BATCH_SIZE).map(model))
    return {key: tf.concat([batch[key] for batch in batches], 0) for key in ("codes", "tokens")}


def through_a_saved_model(model, z, directory):
    tf.saved_model.save(model, directory, tf.function(model).get_concrete_function(spec_of(z)))
    loaded = tf.saved_model.load(directory)
    return loaded.signatures["serving_default"](z)


def through_an_export(model, z, directory):
    model(z[:1])
    model.export(directory, input_signature=[spec_of(z)], verbose=False)
    return tf.saved_model.load(directory).serve(z)


def spec_of(z):
    return tf.TensorSpec([None, *z.shape[1:]], z.dtype)


@presets
@pytest.mark.parametrize(
    "through",
    [through_a_graph, through_predict, through_a_dataset, through_a_saved_model, through_an_export],
)
def test_codes_and_tokens_are_exactly_those_of_eager_mode(through, preset, tmp_path, fit_levels):
    z = tf.random.stateless_normal([count_for(preset), 4], seed=[1, 2])
    layer = FSQ(fit_levels([8, 5, 5, 5], preset), preset=preset)
    found = through(CodesAndTokens(layer), z, str(tmp_path / "model"))
    np.testing.assert_array_equal(found["codes"], layer(z))
    np.testing.assert_array_equal(found["tokens"], layer.latents_to_indices(z))


@presets
@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 8, 8, 6, 5)], ids=str)
def test_jit_moves_at_most_five_latents_by_one_level_each_at_a_tie(
    levels, preset, published_bound, fit_levels
):
    levels = fit_levels(levels, preset)
    z = np.random.default_rng(0).normal(size=(400_000, len(levels))).astype(np.float32)
    layer = FSQ(levels, preset=preset)
    digits = layer.indices_to_digits(layer.latents_to_indices(z)).numpy()
    jitted = layer.indices_to_digits(jit(layer.latents_to_indices)(z)).numpy()
    row, channel = np.nonzero(digits != jitted)
    exact = published_bound(z, levels, preset)[row, channel]
    assert len(row) <= 5
    assert np.abs(digits - jitted)[row, channel].tolist() == [1] * len(row)
    # XLA's tanh differs from Eigen's by a few units in the last place, no more.
    assert (np.abs(exact - np.floor(exact) - 0.5) < 1e-5).all()


@modes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_are_rounded_once_in_every_mode(mode, dtype):
    centers = np.concatenate([np.arange(1, 501), np.arange(1, 1001) / 2])
    steps = np.arange(-1001, 1002)[:, None] / 2
    steps = np.where(np.abs(steps) <= centers, steps, 0).astype(dtype)
    found = mode(lambda steps: divide(steps, centers))(tf.constant(steps))
    # NumPy's division is rounded once; in float64 the last place is left to the optimiser.
    tolerance = 0 if dtype == np.float32 else 1.2e-16
    np.testing.assert_allclose(found, steps / centers.astype(dtype), rtol=0, atol=tolerance)


@modes
@presets
def test_codes_of_latents_give_the_tokens_of_latents(preset, mode, fit_levels):
    layer = FSQ(fit_levels([8, 8, 6, 5], preset), preset=preset)
    z = np.random.default_rng(0).normal(size=(100_000, 4)).astype(np.float32)

    @mode
    def both(z):
        return layer.codes_to_indices(layer(z)), layer.latents_to_indices(z)

    from_codes, from_latents = both(z)
    np.testing.assert_array_equal(from_codes, from_latents)
    # All but the corners: the agreement is not about one token.
    assert len(np.unique(from_latents)) > 0.9 * layer.codebook_size


def test_a_graph_takes_any_batch_size():
    layer = FSQ([8, 5, 5, 5])
    spec = tf.TensorSpec([None, 4], tf.float32)
    tokens = tf.function(layer.latents_to_indices, [spec])
    assert tokens(tf.zeros([0, 4])).numpy().tolist() == []
    assert tokens(tf.zeros([1, 4])).numpy().tolist() == [500]
    assert tokens(tf.fill([3, 4], 9.0)).numpy().tolist() == [999, 999, 999]


# Precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@presets
def test_tokens_are_those_of_float32_on_the_same_rounded_latents(preset, policy, dtype, fit_levels):
    levels = fit_levels([8, 5, 5, 5], preset)
    layer, float32 = FSQ(levels, preset=preset, dtype=policy), FSQ(levels, preset=preset)
    z = tf.random.stateless_normal([count_for(preset), 4], [1, 2], dtype=tf.float64)
    z = tf.cast(z, dtype)
    rounded = tf.cast(tf.cast(z, layer.compute_dtype), tf.float32)
    expected = float32.latents_to_indices(rounded)
    codes = layer(z)
    assert codes.dtype == layer.compute_dtype
    np.testing.assert_array_equal(codes, tf.cast(float32(rounded), layer.compute_dtype))
    np.testing.assert_array_equal(layer.latents_to_indices(z), expected)
    np.testing.assert_array_equal(layer.codes_to_indices(codes), expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_codes_of_tokens_leave_in_the_compute_dtype(policy):
    layer = FSQ([8, 6, 5], dtype=policy)
    codes = layer.indices_to_codes(np.arange(240))
    assert codes.dtype == layer.compute_dtype
    np.testing.assert_array_equal(codes, tf.cast(FSQ([8, 6, 5]).codebook, layer.compute_dtype))


@presets
def test_a_float64_layer_computes_in_float64(
    preset, published_bound, latents_of_bound, codes_of_digits, fit_levels
):
    levels = fit_levels((8, 5, 5, 5), preset)
    layer = FSQ(levels, preset=preset, dtype="float64")
    random = np.random.default_rng(0)
    z = random.normal(size=(500_000, 4))
    # Some so near the ties, 1e-9 to either side, that float32 cannot tell the side.
    ties = random.integers(-2, 2, size=(1000, 4)) + 0.5
    z[:1000] = latents_of_bound(ties + random.choice([-1e-9, 1e-9], ties.shape), levels, preset)
    steps = np.rint(published_bound(z, levels, preset))
    half = np.array(levels) // 2

    codes, tokens = layer(z), layer.latents_to_indices(z)
    assert codes.dtype == tf.float64
    np.testing.assert_allclose(
        codes, codes_of_digits(steps + half, levels, preset), rtol=0, atol=1e-15
    )
    np.testing.assert_array_equal(layer.indices_to_digits(tokens), steps + half)
    np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)
    in_float32 = FSQ(levels, preset=preset).latents_to_indices(z).numpy()
    assert (in_float32 != tokens.numpy()).any()
