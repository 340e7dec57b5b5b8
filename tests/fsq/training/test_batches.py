"""The batches of a training run: the same bytes for the same seed and step, however loaded."""

import hashlib
import threading

import numpy as np
import pytest

from fsq.cores import count_cores
from fsq.errors import DataError
from fsq.training.data import ImagesInMemory, batch_of_step
from fsq.training.devices import devices_of_training
from fsq.training.loader import load_batches

PIXELS = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8)
# sha256 of the batches of steps 0, 1, 11 (the last of the first epoch), 12 and 13, by `flip`.
DIGESTS = {
    False: [
        "b7dda51e833908b5",
        "e0049a2b128dc098",
        "c4a992886d61482d",
        "a6aec77dc53c965a",
        "3d868065679115fd",
    ],
    True: [
        "9391d015d0a7d510",
        "43fed0104deb7174",
        "17b6a1c2e3bb117a",
        "3af1a963eb25c3ca",
        "244906d2667a22fd",
    ],
}


@pytest.mark.parametrize(("flip", "digests"), DIGESTS.items())
def test_batches_from_memory_are_those_of_every_version_before(flip: bool, digests: list[str]):
    images = ImagesInMemory(PIXELS, flip=flip)
    batches = [batch_of_step(images, step, batch_size=8, seed=3) for step in (0, 1, 11, 12, 13)]
    assert [hashlib.sha256(batch).hexdigest()[:16] for batch in batches] == digests


def numbered(number: int) -> np.ndarray:
    return np.full((2, 3), number, np.uint8)


def test_a_loader_that_begins_later_goes_on_with_the_same_batches():
    def batch(step: int) -> np.ndarray:
        return batch_of_step(ImagesInMemory(PIXELS, flip=True), step, batch_size=8, seed=3)

    loaded = list(load_batches(batch, 11, 14))
    assert [hashlib.sha256(one).hexdigest()[:16] for one in loaded] == DIGESTS[True][2:]


@pytest.mark.skipif(count_cores() < 2, reason="needs two cores")
def test_batches_are_made_in_parallel_and_come_in_order():
    second = threading.Event()

    def make(number: int) -> np.ndarray:
        if number == 0:
            assert second.wait(timeout=60)
        second.set()
        return numbered(number)

    with devices_of_training():  # deterministic kernels, with which tf.data can be sequential
        loaded = [int(batch[0, 0]) for batch in load_batches(make, 0, 8)]
    assert loaded == list(range(8))


def test_an_error_is_raised_as_it_was_when_it_is_its_batchs_turn():
    error = DataError("photos/cat.png: expected a PNG. Remove it.")

    def make(number: int) -> np.ndarray:
        if number >= 2:
            raise error if number == 2 else ValueError(number)
        return numbered(number)

    loaded = load_batches(make, 0, 8)
    assert [int(next(loaded)[0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(DataError) as raised:
        next(loaded)
    assert raised.value is error


def test_a_loader_that_is_left_early_makes_no_further_batches():
    making = set()

    def make(number: int) -> np.ndarray:
        making.add(number)
        try:
            return numbered(number)
        finally:
            making.remove(number)

    for batch in load_batches(make, 0, 10**9):
        if batch[0, 0] == 3:
            break
    assert not making
