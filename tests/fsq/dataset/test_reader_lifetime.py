"""A reader lives as long as something reads from it."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from fsq.dataset import TokenBatches, token_dataset
from tools.random_tokens import write_random_tokens

OPTIONS = {"batch_size": 32, "shuffle_seed": 1}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lifetime") / "out"
    write_random_tokens(directory, images=300, side=2)
    return directory


@pytest.fixture
def before() -> int:
    gc.collect()
    return count_readers()


def count_readers() -> int:
    return sum(type(each) is TokenBatches for each in gc.get_objects())


def read_whole(dataset: Any) -> None:
    assert len(list(dataset)) == 10


def read_half(dataset: Any) -> None:
    iterator = iter(dataset)
    for _ in range(5):
        next(iterator)


def read_as_numpy(dataset: Any) -> None:
    next(dataset.as_numpy_iterator())


def read_nothing(dataset: Any) -> None:
    pass


def derive(dataset: Any) -> Any:
    tokens = dataset.map(lambda batch: batch["tokens"]).unbatch().batch(50)
    return tokens.repeat(2).shuffle(4).prefetch(tf.data.AUTOTUNE)


def read_derived(dataset: Any) -> None:
    assert len(list(derive(dataset))) == 12


def read_half_of_derived(dataset: Any) -> None:
    read_half(derive(dataset))


def read_in_a_graph(dataset: Any) -> None:
    @tf.function
    def count_rows() -> Any:
        rows = 0
        for batch in dataset:
            rows += tf.shape(batch["tokens"])[0]
        return rows

    assert count_rows() == 300


@pytest.mark.parametrize(
    "read",
    [
        read_whole,
        read_half,
        read_as_numpy,
        read_nothing,
        read_derived,
        read_half_of_derived,
        read_in_a_graph,
    ],
)
def test_the_reader_of_an_epoch_is_freed_after_it(
    directory: Path, before: int, read: Callable[[Any], None]
):
    for epoch in range(3):
        read(token_dataset(directory, **OPTIONS, epoch=epoch))
    gc.collect()
    assert count_readers() == before


def test_no_garbage_collection_is_needed_to_free_a_reader(directory: Path, before: int):
    gc.disable()
    try:
        for epoch in range(3):
            read_whole(token_dataset(directory, **OPTIONS, epoch=epoch))
        assert count_readers() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("make", [iter, lambda dataset: dataset.as_numpy_iterator()])
def test_an_iterator_keeps_the_one_reader_of_a_dataset_that_nobody_else_keeps(
    directory: Path, before: int, make: Callable[[Any], Any]
):
    iterator = make(derive(token_dataset(directory, **OPTIONS)))
    gc.collect()
    assert count_readers() == before + 1
    assert len(list(iterator)) == 12


def test_a_dataset_made_inside_a_graph_is_read_whole_each_time(directory: Path, before: int):
    @tf.function
    def sum_tokens() -> Any:
        total = tf.constant(0)
        for batch in token_dataset(directory, **OPTIONS):
            total += tf.reduce_sum(batch["tokens"])
        return total

    expected = sum(int(np.sum(batch["tokens"])) for batch in TokenBatches(directory, batch_size=99))
    assert [int(sum_tokens()) for _ in range(3)] == [expected] * 3
    gc.collect()
    assert count_readers() == before
