"""Laws of the FSQ layer in eager mode: latents, codes, tokens, errors, shapes, saving."""

import json
import re
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsq import FSQ
from fsq.quantizer.ops import bound
from fsq.quantizer.presets import PRESETS

ALL_LEVELS = range(3, 1002)

presets = pytest.mark.parametrize("preset", PRESETS)

# Latents, codes and tokens that the paper's notebook prints or that follow by hand.
WORKED_EXAMPLES = [
    ([3, 5, 4], [0.25, 0.6, -7], [0, 0.5, -1], 10),
    ([8, 5, 5, 5], [0, 0, 0, 0], [0, 0, 0, 0], 500),
    ([8, 5, 5, 5], [9, 9, 9, 9], [0.75, 1, 1, 1], 999),
    ([8, 5, 5, 5], [-9, -9, -9, -9], [-1, -1, -1, -1], 0),
    ([8, 5, 5, 5], [0.5, -0.5, 1, -1], [0.25, -0.5, 1, -1], 173),
    ([7, 5, 5, 5, 5], [0.3, -0.3, 2, -2, 0], [1 / 3, -0.5, 1, -1, 0], 1901),
    ([8, 8, 8, 5, 5, 5], [0.1, 0.2, 0.3, -0.1, -0.2, -0.3], [0, 0.25, 0.25, 0, 0, -0.5], 19308),
    ([5, 4, 3], [0, 0, 0], [0, 0, 0], 32),
    ([5, 4, 3], [9, 9, 9], [1, 0.5, 1], 59),
    ([5, 4, 3], [-9, -9, -9], [-1, -1, -1], 0),
]


def levels_of(preset):
    """All levels that the preset can place."""
    if preset == "symmetric":
        return range(2, 1002)
    return range(3, 1002, 2) if preset == "ifsq" else ALL_LEVELS


def sixes(levels):
    """Splits many levels into lattices of six channels, which int64 can count."""
    return [tuple(levels[start : start + 6]) for start in range(0, len(levels), 6)]


def message_of(error):
    """The message without what Keras writes around an error inside a call."""
    return re.sub(r"\x1b\[\d*m", "", str(error.value))


# Latents, codes, tokens


@pytest.mark.parametrize("preset", ["atanh", "official", "torch"])
@pytest.mark.parametrize(("levels", "z", "codes", "token"), WORKED_EXAMPLES)
def test_worked_examples_go_from_latents_to_tokens_and_back(levels, z, codes, token, preset):
    layer = FSQ(levels, preset=preset)
    expected = np.array(codes, np.float32)
    np.testing.assert_array_equal(layer(np.array(z, np.float32)), expected)
    assert int(layer.codes_to_indices(expected)) == token
    assert int(layer.latents_to_indices(np.array(z, np.float32))) == token
    np.testing.assert_array_equal(layer.indices_to_codes(token), expected)


@presets
@pytest.mark.parametrize(
    "levels", [(3, 4, 5, 6, 7, 8), (11, 16, 17, 64, 255, 256), (1000, 1001)], ids=str
)
def test_codes_follow_the_published_bound_away_from_ties(
    levels, preset, published_bound, codes_of_digits, fit_levels
):
    levels = fit_levels(levels, preset)
    z = np.random.default_rng(0).normal(size=(100_000, len(levels))).astype(np.float32)
    exact = published_bound(z, levels, preset)
    half = np.array(levels) // 2
    # float32 is off by a few 1e-7 of the half width.
    near_a_tie = np.abs(exact - np.floor(exact) - 0.5) < np.maximum(1e-5, 1e-6 * half)
    expected = codes_of_digits(np.rint(exact) + half, levels, preset)
    codes = FSQ(levels, preset=preset)(z).numpy()
    # Codes lie at least 1e-3 apart, float32's error is 6e-8.
    np.testing.assert_allclose(codes[~near_a_tie], expected[~near_a_tie], rtol=0, atol=1e-7)
    assert near_a_tie.mean() < 0.002  # so few that the law is about nearly all


@pytest.mark.parametrize("preset", ["atanh", "torch", "ifsq"])
def test_the_bound_of_zero_is_zero(preset):
    for levels in sixes(levels_of(preset)):
        zeros = np.zeros(len(levels))
        value = bound(tf.constant(zeros), levels, preset, 1e-3)
        # A few units in the last place of the offset 0.5, which is subtracted last.
        np.testing.assert_allclose(value, zeros, rtol=0, atol=4e-16, err_msg=levels)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("preset", ["atanh", "torch"])
def test_the_bound_of_zero_is_zero_in_float32_compiled_or_not(preset, jit_compile):
    lattices = sixes(range(4, 1002, 2))  # odd levels have no shift
    values = lambda zeros: [bound(zeros[: len(levels)], levels, preset) for levels in lattices]
    zeros = tf.zeros([6])
    for found in (values(zeros), tf.function(values, jit_compile=jit_compile)(zeros)):
        for levels, value in zip(lattices, found, strict=True):
            # One unit in the last place of the offset 0.5, which is subtracted last, is 6e-8.
            assert np.abs(value).max() <= 1e-7, levels


def test_the_default_preset_is_atanh():
    assert (FSQ([4]).preset, FSQ([4]).eps) == ("atanh", 1e-3)


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [8, 8, 8, 5, 5, 5]], ids=str)
def test_official_and_atanh_differ_in_at_most_one_token_of_ten_thousand(levels):
    z = np.random.default_rng(0).normal(size=(1_000_000, len(levels))).astype(np.float32)
    official = FSQ(levels, preset="official").latents_to_indices(z).numpy()
    atanh = FSQ(levels, preset="atanh").latents_to_indices(z).numpy()
    assert 0 < (official != atanh).mean() <= 1e-4


@pytest.mark.parametrize(
    ("levels", "share"), [([8, 5, 5, 5], 0.0103), ([8, 8, 8, 5, 5, 5], 0.0179)], ids=str
)
def test_the_sign_of_eps_moves_one_token_in_a_hundred(levels, share):
    z = np.random.default_rng(0).normal(size=(1_000_000, len(levels))).astype(np.float32)
    official = FSQ(levels, preset="official").latents_to_indices(z).numpy()
    torch = FSQ(levels, preset="torch").latents_to_indices(z).numpy()
    # A share of .018 among a million has a standard error of .00013; .001 is seven of them.
    assert (official != torch).mean() == pytest.approx(share, abs=1e-3)


@pytest.mark.slow
@presets
def test_extreme_latents_give_the_outermost_digits_of_every_level(preset):
    for eps in (1e-3, 1e-6):
        for levels in sixes(levels_of(preset)):
            layer = FSQ(levels, preset=preset, eps=eps)
            z = np.repeat(np.array([[1e4], [np.inf], [-1e4], [-np.inf]], "float32"), len(levels), 1)
            digits = layer.indices_to_digits(layer.latents_to_indices(z)).numpy()
            highest, lowest = [level - 1 for level in levels], [0] * len(levels)
            assert digits.tolist() == [highest, highest, lowest, lowest]


@pytest.mark.slow
@presets
def test_every_level_is_reachable(preset, latents_of_bound):
    for levels in sixes(levels_of(preset)):
        layer = FSQ(levels, preset=preset)
        digits = np.minimum(np.arange(max(levels))[:, None], np.array(levels) - 1)
        z = latents_of_bound(digits - np.array(levels) // 2, levels, preset).astype(np.float32)
        found = layer.indices_to_digits(layer.latents_to_indices(z)).numpy()
        np.testing.assert_array_equal(found, digits)


# Tokens, digits, codebook


@pytest.mark.slow
def test_two_million_tokens_of_a_large_lattice_survive_their_codes(large_levels):
    layer = FSQ(large_levels)
    tokens = np.random.default_rng(0).integers(layer.codebook_size, size=2_000_000)
    tokens[:2] = 0, layer.codebook_size - 1
    np.testing.assert_array_equal(layer.codes_to_indices(layer.indices_to_codes(tokens)), tokens)


def test_digits_are_public_both_ways():
    layer = FSQ([8, 5, 5, 5])
    assert int(layer.digits_to_indices(np.array([7, 4, 4, 4]))) == 999
    assert layer.indices_to_digits(999).numpy().tolist() == [7, 4, 4, 4]
    tokens, digits = [[173], [500]], [[[5, 1, 4, 0]], [[4, 2, 2, 2]]]
    assert layer.digits_to_indices(np.array(digits)).numpy().tolist() == tokens
    assert layer.indices_to_digits(np.array(tokens)).numpy().tolist() == digits


def test_the_codebook_lists_the_codes_of_all_tokens(levels):
    layer = FSQ(levels)
    tokens = np.arange(layer.codebook_size)
    codebook = layer.codebook
    np.testing.assert_array_equal(layer.indices_to_codes(tokens), codebook)
    np.testing.assert_array_equal(layer.codebook_chunk(7, 12), codebook[7:12])


def test_the_codebook_of_3_and_4_levels_is_the_one_in_the_notebook():
    rows = [[first, second] for second in (-1, -0.5, 0, 0.5) for first in (-1, 0, 1)]
    assert FSQ([3, 4]).codebook.tolist() == rows


@pytest.mark.parametrize("levels", [[4] * 16, [8] * 20], ids=["4^16", "8^20"])
def test_building_and_using_a_huge_lattice_allocates_less_than_a_megabyte(levels):
    z = np.full((2, len(levels)), 9, np.float32)
    FSQ([3])(z[:, :1])  # what TensorFlow and Keras allocate once
    tracemalloc.start()
    layer = FSQ(levels)
    tokens = layer.codes_to_indices(layer(z))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tokens.numpy().tolist() == [layer.codebook_size - 1] * 2
    assert layer.weights == []
    assert peak_bytes < 2**20


def test_the_codebook_of_a_huge_lattice_is_refused_and_comes_in_chunks():
    layer = FSQ([4] * 16)
    with pytest.raises(ValueError) as error:
        _ = layer.codebook
    assert str(error.value) == (
        "codebook: expected at most 2**24 codes at once, got 4294967296. "
        "Use slices: codebook_chunk(start, stop)."
    )
    assert layer.codebook_chunk(2**32 - 1, 2**32).tolist() == [[0.5] * 16]


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [
        ([3], tf.int32),
        ([8, 5, 5, 5], tf.int32),
        ([8] * 10, tf.int32),
        ([8] * 9 + [16], tf.int64),
        ([1000] * 6, tf.int64),
    ],
    ids=str,
)
def test_tokens_are_int32_as_long_as_they_fit_whichever_way_they_are_made(levels, dtype):
    layer = FSQ(levels)
    digits = np.array([level - 1 for level in levels])
    z = np.full(len(levels), 9e3, np.float32)
    tokens = [
        layer.latents_to_indices(z),
        layer.codes_to_indices(layer(z)),
        layer.digits_to_indices(digits),
    ]
    assert [token.dtype for token in tokens] == [dtype] * 3
    assert [int(token) for token in tokens] == [layer.codebook_size - 1] * 3


@pytest.mark.parametrize("levels", [[3, 4], [1000] * 6], ids=["int32", "int64"])
def test_tensorflow_takes_the_tokens_where_it_takes_indices(levels):
    layer = FSQ(levels)
    tokens = layer.codes_to_indices(layer.indices_to_codes([2, 0, 2]))
    assert tf.one_hot(tokens, 3).numpy().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert tf.gather([10, 11, 12], tokens).numpy().tolist() == [12, 10, 12]
    assert tf.math.bincount(tokens).numpy().tolist() == [1, 0, 2]
    embedding = keras.layers.Embedding(3, 2)
    embedded = embedding(tokens).numpy()
    np.testing.assert_array_equal(embedded, embedding.embeddings.numpy()[[2, 0, 2]])


# What is refused, and what is marked


@pytest.mark.parametrize("preset", ["atanh", "official", "torch"])
@pytest.mark.parametrize("levels", [[2], [2, 2, 2], [8, 2, 5]], ids=str)
def test_two_levels_are_refused_naming_the_symmetric_preset(levels, preset):
    with pytest.raises(ValueError) as error:
        FSQ(levels, preset=preset)
    assert str(error.value) == (
        f"levels: expected 3 or more for the preset '{preset}', got {levels}: of two "
        "levels it hardly ever reaches the lower. Use 3 or more, or the preset 'symmetric'."
    )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "levels: expected at least one channel, got an empty list."),
        ([8, 1], "levels: expected values in [2, 1001], got 1 in [8, 1]."),
        ([8, 1002], "levels: expected values in [2, 1001], got 1002 in [8, 1002]."),
        ([8, 5.0], "levels: expected integers, got 5.0 in [8, 5.0]."),
        ([8, True], "levels: expected integers, got True in [8, True]."),
        (8, "levels: expected a list of integers, got 8."),
        (
            [8] * 21,
            "levels: expected at most 2**63 - 1 tokens, got 9223372036854775808 "
            "from 21 channels. Use fewer channels or levels.",
        ),
    ],
)
def test_a_layer_is_not_made_of_levels_that_are_no_lattice(levels, message):
    with pytest.raises(ValueError) as error:
        FSQ(levels)
    assert str(error.value) == message


@pytest.mark.parametrize("preset", ["tan", "", "Official", None])
def test_an_unknown_preset_is_refused(preset):
    with pytest.raises(ValueError) as error:
        FSQ([8, 5, 5, 5], preset=preset)
    assert str(error.value) == f"preset: expected one of {list(PRESETS)}, got {preset!r}."


def test_two_levels_are_placed_by_the_symmetric_preset():
    layer = FSQ([2], preset="symmetric")
    z = np.array([[-0.1], [0.1], [-np.inf], [np.inf]], np.float32)
    assert layer.latents_to_indices(z).numpy().tolist() == [0, 1, 0, 1]
    assert layer(z).numpy().tolist() == [[-1], [1], [-1], [1]]
    assert layer.codebook.tolist() == [[-1], [1]]


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [2]], ids=str)
def test_the_preset_ifsq_refuses_even_levels(levels):
    with pytest.raises(ValueError) as error:
        FSQ(levels, preset="ifsq")
    assert str(error.value) == (
        f"levels: expected odd levels for the preset 'ifsq', got {levels}. "
        "Use odd levels, or another preset."
    )


def test_symmetric_codes_are_evenly_spaced_from_end_to_end():
    for level in range(2, 1002):
        codes = FSQ([level], preset="symmetric").codebook[:, 0]
        expected = np.linspace(-1, 1, level)
        np.testing.assert_allclose(codes, expected, rtol=0, atol=6e-8)


@pytest.mark.parametrize("eps", [0, -1e-3, 1.1e-3, 1.0, float("nan")])
def test_an_eps_that_cuts_off_levels_is_refused(eps):
    with pytest.raises(ValueError) as error:
        FSQ([8, 5, 5, 5], eps=eps)
    assert str(error.value) == f"eps: expected a value in (0, 0.001], got {eps}."


@pytest.mark.parametrize("method", ["indices_to_codes", "indices_to_digits"])
@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (-1, "tokens: expected values in [0, 60), got 1 outside, the first is -1."),
        (60, "tokens: expected values in [0, 60), got 1 outside, the first is 60."),
        (
            np.array([[5, 2**40], [-7, 59]]),
            "tokens: expected values in [0, 60), got 2 outside, the first is 1099511627776.",
        ),
        (
            tf.constant([0, 60]),
            "tokens: expected values in [0, 60), got 1 outside, the first is 60.",
        ),
        (np.array([1.0]), "tokens: expected integers, got float64."),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(method, tokens, message):
    with pytest.raises(ValueError) as error:
        getattr(FSQ([3, 5, 4]), method)(tokens)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ([[0, 0, 4]], "digits: expected values below [3, 5, 4], got 1 outside."),
        ([[0, -1, 4], [0, 0, 3]], "digits: expected values below [3, 5, 4], got 2 outside."),
        ([[0.0, 0.0, 0.0]], "digits: expected integers, got float64."),
    ],
)
def test_digits_outside_the_lattice_are_refused(digits, message):
    with pytest.raises(ValueError) as error:
        FSQ([3, 5, 4]).digits_to_indices(np.array(digits))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "codes",
    [
        [[0, 0, 0], [np.nan, 0, 0]],
        [[0, 0, 0], [0, np.inf, 0]],
        [[0, 0, 0], [0, -1.5, 0]],
        [[0, 0, 0], [0, 0, 1]],  # 4 levels end at 0.5
        [[0, 0, 0], [3e9, 0, 0]],
    ],
)
def test_codes_outside_the_lattice_are_refused(codes):
    with pytest.raises(ValueError) as error:
        FSQ([3, 5, 4]).codes_to_indices(np.array(codes, np.float32))
    assert str(error.value) == (
        "codes_to_indices: expected codes on the lattice of [3, 5, 4], got 1 off it or NaN."
    )


def test_latents_that_are_nan_stay_nan_and_give_the_token_minus_one():
    layer = FSQ([3, 5, 4])
    z = np.array([[0.25, 0.6, -7], [0.25, np.nan, -7]], np.float32)
    np.testing.assert_array_equal(layer(z), np.array([[0, 0.5, -1], [0, np.nan, -1]], np.float32))
    assert layer.latents_to_indices(z).numpy().tolist() == [10, -1]


@pytest.mark.parametrize("shape", [(2, 4), (2, 1), (4, 2, 2), (1,), (2, 0)], ids=str)
@pytest.mark.parametrize(
    "use",
    [
        lambda layer, z: layer(z),
        lambda layer, z: layer.build(z.shape),
        lambda layer, z: layer.latents_to_indices(z),
        lambda layer, z: layer.codes_to_indices(z),
        lambda layer, z: layer.digits_to_indices(z.astype(int)),
    ],
    ids=["call", "build", "latents_to_indices", "codes_to_indices", "digits_to_indices"],
)
def test_a_wrong_last_dimension_is_refused_naming_both_numbers(use, shape):
    with pytest.raises(ValueError) as error:
        use(FSQ([3, 5, 4]), np.zeros(shape, np.float32))
    assert str(error.value) == (
        "FSQ: expected 3 channels in the last dimension for levels [3, 5, 4], "
        f"got {shape[-1]} in shape {shape}."
    )


@pytest.mark.parametrize("shape", [(2, 4), (2, 1)], ids=str)
def test_a_layer_in_use_still_refuses_a_wrong_last_dimension(shape):
    layer = FSQ([3, 5, 4])
    layer(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError) as error:
        layer(np.zeros(shape, np.float32))
    assert (
        "expected 3 channels in the last dimension for levels [3, 5, 4], "
        f"got {shape[-1]} in shape {shape}." in message_of(error)
    )


def test_a_model_with_a_wrong_last_dimension_cannot_be_made():
    with pytest.raises(ValueError) as error:
        FSQ([3, 5, 4])(keras.Input((7, 7, 4)))
    assert str(error.value) == (
        "FSQ: expected 3 channels in the last dimension for levels [3, 5, 4], "
        "got 4 in shape (None, 7, 7, 4)."
    )


# Shapes


@pytest.mark.parametrize(
    "shape",
    [(), (6,), (2, 3), (2, 3, 4), (2, 2, 3, 4), (0,), (2, 0)],
    ids=["d", "nd", "btd", "bhwd", "bfhwd", "empty batch", "empty sequence"],
)
def test_any_leading_shape_is_kept_and_does_not_matter(shape):
    layer = FSQ([8, 5, 5, 5])
    z = np.random.default_rng(0).normal(size=(*shape, 4)).astype(np.float32)
    flat = z.reshape(-1, 4)
    codes, tokens = layer(z), layer.latents_to_indices(z)
    assert (tuple(codes.shape), tuple(tokens.shape)) == (z.shape, shape)
    np.testing.assert_array_equal(codes, np.reshape(layer(flat), z.shape))
    np.testing.assert_array_equal(tokens, np.reshape(layer.latents_to_indices(flat), shape))
    np.testing.assert_array_equal(layer.codes_to_indices(codes), tokens)
    np.testing.assert_array_equal(layer.indices_to_codes(tokens), codes)
    np.testing.assert_array_equal(layer.digits_to_indices(layer.indices_to_digits(tokens)), tokens)


def test_a_symbolic_batch_keeps_its_unknown_size():
    layer = FSQ([8, 5, 5, 5])
    assert layer(keras.Input((7, 7, 4))).shape == (None, 7, 7, 4)
    assert layer(keras.Input((None, None, 4))).shape == (None, None, None, 4)
    assert layer.compute_output_shape((None, 7, 7, 4)) == (None, 7, 7, 4)


# Saving


def test_the_config_round_trip_keeps_levels_preset_and_eps():
    layer = FSQ(np.array([8, 5, 5, 5]), preset="official", eps=1e-4, name="quantizer")
    config = json.loads(json.dumps(layer.get_config()))  # plain values, not NumPy's
    copy = FSQ.from_config(config)
    assert copy.get_config() == layer.get_config()
    assert (copy.levels, copy.preset, copy.eps, copy.name) == (
        (8, 5, 5, 5),
        "official",
        1e-4,
        "quantizer",
    )
    ours = {key: config[key] for key in ("levels", "preset", "eps")}
    assert ours == {"levels": [8, 5, 5, 5], "preset": "official", "eps": 1e-4}


def test_a_config_with_an_unknown_preset_is_refused():
    config = FSQ([8, 5, 5, 5]).get_config() | {"preset": "newer"}
    with pytest.raises(ValueError) as error:
        FSQ.from_config(config)
    assert str(error.value) == f"preset: expected one of {list(PRESETS)}, got 'newer'."


def test_a_keras_file_gives_the_same_layer_and_the_same_tokens(tmp_path):
    # Neither preset nor eps is the default, and enough latents that either shows.
    layer = FSQ([4, 4, 4], preset="official", eps=1e-4, dtype="mixed_float16")
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert loaded.get_config() == layer.get_config()

    z = np.random.default_rng(0).normal(size=(100_000, 3)).astype(np.float32)
    tokens = layer.latents_to_indices(z).numpy()
    np.testing.assert_array_equal(loaded.latents_to_indices(z), tokens)
    for other in ({"preset": "atanh"}, {"eps": 1e-3}, {"dtype": "float32"}):
        altered = FSQ.from_config(layer.get_config() | other)
        assert (altered.latents_to_indices(z).numpy() != tokens).any()


@pytest.mark.parametrize(
    "digits", [[[9, 0, 0, 0]], [[1]], [[1, 0, 0]], [[1.5, 0, 0, 0]], [[-1] * 4]]
)
def test_digits_that_have_no_code_are_refused(digits):
    with pytest.raises(ValueError, match="expected"):
        FSQ([8, 5, 5, 5]).digits_to_codes(digits)
