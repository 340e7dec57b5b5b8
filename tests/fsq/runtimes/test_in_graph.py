"""A tokenizer inside a graph gives the tokens that it gives outside, whatever the batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from fsq.runtimes.probe import probe_images
from fsq.tokenizer import Tokenizer

BATCH_SIZE = 32
COUNT = 70


@pytest.fixture(scope="module", params=["tensorflow", "xla", "openvino"])
def tokenizer(request: pytest.FixtureRequest, root: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(root / "tokenizers" / "cifar10", batch_size=BATCH_SIZE)
    tokenizer.use_runtime(request.param)
    return tokenizer


@pytest.fixture(scope="module")
def images(tokenizer: Tokenizer) -> np.ndarray:
    return probe_images(tokenizer.contract.image, 64, BATCH_SIZE)[:COUNT]


@pytest.fixture(scope="module")
def expected(tokenizer: Tokenizer, images: np.ndarray) -> np.ndarray:
    return tokenizer.encode(images)


def joined(dataset: Any) -> np.ndarray:
    return np.concatenate(list(dataset.as_numpy_iterator()))


@pytest.mark.parametrize("batch_size", [1, 9, 32, 50, 70])
def test_a_step_of_a_dataset_gives_the_tokens_of_encode_in_any_batch_size(
    tokenizer: Tokenizer, images: np.ndarray, expected: np.ndarray, batch_size: int
):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    dataset = batches.map(tokenizer.encode_images, num_parallel_calls=2)
    assert dataset.element_spec.shape.as_list() == [None, *tokenizer.contract.grid]
    np.testing.assert_array_equal(joined(dataset), expected)
    assert joined(dataset).dtype == expected.dtype


def test_full_batches_have_a_static_shape(tokenizer: Tokenizer, images: np.ndarray):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(16, drop_remainder=True)
    dataset = batches.map(tokenizer.encode_images)
    assert dataset.element_spec.shape == (16, *tokenizer.contract.grid)
    assert len(joined(dataset)) == 64


def test_a_function_of_any_number_of_images_gives_them_too(
    tokenizer: Tokenizer, images: np.ndarray, expected: np.ndarray
):
    shape = [None, *tokenizer.contract.image.shape]
    function = tf.function(
        tokenizer.encode_images, input_signature=[tf.TensorSpec(shape, tf.uint8)]
    )
    for count in (0, 1, COUNT):
        np.testing.assert_array_equal(function(images[:count]), expected[:count])
    np.testing.assert_array_equal(tokenizer.encode_images(images), expected)


def test_an_iterator_is_restored_in_the_middle(
    tokenizer: Tokenizer, images: np.ndarray, expected: np.ndarray, tmp_path: Path
):
    # The weights of a graph are variables, which tf.data takes for a state that changes.
    options = tf.data.Options()
    policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    options.experimental_external_state_policy = policy

    def open_iterator() -> Any:
        batches = tf.data.Dataset.from_tensor_slices(images).batch(10)
        return iter(batches.map(tokenizer.encode_images).with_options(options))

    iterator = open_iterator()
    next(iterator)
    saved = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "position"))
    again = open_iterator()
    tf.train.Checkpoint(iterator=again).restore(saved)
    np.testing.assert_array_equal(np.concatenate(list(again)), expected[10:])


def test_a_tokenizer_that_was_not_used_before_is_traced_inside_a_graph(root: Path):
    tokenizer = Tokenizer.load(root / "tokenizers" / "cifar10", batch_size=BATCH_SIZE)
    images = probe_images(tokenizer.contract.image, 64, BATCH_SIZE)[:40]
    dataset = tf.data.Dataset.from_tensors(images).map(tokenizer.encode_images)
    np.testing.assert_array_equal(joined(dataset), tokenizer.encode(images))


def test_a_latent_that_is_not_finite_ends_the_dataset(tokenizer_directory: Path):
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    for variable in tokenizer._autoencoder.encoder.variables:
        variable.assign(np.full(variable.shape, np.nan))
    images = np.zeros((3, *tokenizer.contract.image.shape), np.uint8)
    dataset = tf.data.Dataset.from_tensors(images).map(tokenizer.encode_images)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected finite latents, got NaN"):
        joined(dataset)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), "float32 (2, 16, 16, 3)"),
        (np.zeros((16, 16, 3), np.uint8), "uint8 (16, 16, 3)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "uint8 (2, 8, 8, 3)"),
    ],
)
def test_images_of_another_type_or_shape_are_refused_while_tracing(
    tokenizer_directory: Path, bad: np.ndarray, found: str
):
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    with pytest.raises(ValueError, match="expected uint8 \\[B, 16, 16, 3\\], got") as caught:
        tf.data.Dataset.from_tensors(bad).map(tokenizer.encode_images)
    assert found in str(caught.value)
