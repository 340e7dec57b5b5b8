"""Splits by share: a split follows from the key alone, the same in every version."""

from collections import Counter
from fractions import Fraction

import pytest

from fsq.dataset.records import encode_key, place_of
from fsq.dataset.split_by_key import split_of, sum_of_shares

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
KEYS = [f"cats/{number:05d}.png" for number in range(20_000)]

# Frozen: a change here moves images from training to validation in every dataset.
GOLDEN = {
    "0": "train",
    "3": "test",
    "7": "train",
    "8": "test",
    "": "test",
    "cats/000.png": "train",
    "cats/001.png": "val",
    "cats/013.png": "val",
    "dogs/é.png": "train",
    "caf\udce9.jpg": "train",
    "train-00000-of-00002.tfrecord:17": "train",
}


@pytest.mark.parametrize(("key", "split"), GOLDEN.items())
def test_the_split_of_a_key_is_that_of_every_version_before(key: str, split: str):
    assert split_of(key, SHARES) == split


def test_each_split_gets_its_share():
    found = Counter(split_of(key, SHARES) for key in KEYS)
    # The standard deviation of a share of 0.1 is 42 images.
    assert {name: round(count / len(KEYS), 2) for name, count in found.items()} == SHARES


def test_images_that_are_added_move_no_other():
    before = {key: split_of(key, SHARES) for key in KEYS[::2]}
    after = {key: split_of(key, SHARES) for key in KEYS}
    assert {key: after[key] for key in before} == before


def test_a_larger_first_split_keeps_the_images_that_it_had():
    small = {key for key in KEYS if split_of(key, {"train": 0.5, "val": 0.5}) == "train"}
    large = {key for key in KEYS if split_of(key, {"train": 0.9, "val": 0.1}) == "train"}
    assert small < large


def test_names_and_further_divisions_of_the_rest_do_not_move_the_first_split():
    one = [split_of(key, {"train": 0.9, "val": 0.1}) == "train" for key in KEYS]
    other = [split_of(key, {"a": 0.9, "b": 0.04, "c": 0.06}) == "a" for key in KEYS]
    assert one == other


def test_every_split_is_spread_over_all_shards():
    """The hash of the split is not that of the order, or val would lie in a few shards."""
    shards = Counter(
        place_of(encode_key(key), "center").shard(10)
        for key in KEYS
        if split_of(key, SHARES) == "val"
    )
    assert sorted(shards) == list(range(10))
    assert max(shards.values()) < 1.5 * min(shards.values())


def test_shares_add_up_as_they_are_written():
    assert 0.7 + 0.2 + 0.1 != 1
    assert sum_of_shares([0.7, 0.2, 0.1]) == 1
    assert sum_of_shares([0.1] * 10) == 1
    assert sum_of_shares([1e-9, 0.5]) == Fraction(500_000_001, 1_000_000_000)
