"""Bucket order: laws of the batches of an epoch whose records have several grids."""

import numpy as np
import pytest

from fsq.dataset.bucket_order import BucketOrder

SHARES = (0.7, 0.25, 0.05)
BUCKETS = np.random.default_rng(0).choice(3, 10_000, p=SHARES).astype(np.uint8)
SIZES = (16, 16, 8)


def order_of(
    *,
    shard: tuple[int, int] = (0, 1),
    key: tuple[int, int] | None = (1, 0),
    drop_remainder: bool = False,
) -> BucketOrder:
    return BucketOrder(BUCKETS, SIZES, shard=shard, key=key, drop_remainder=drop_remainder)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("key", [None, (1, 0)])
def test_the_batches_of_all_hosts_are_the_epoch(count: int, key: tuple[int, int] | None):
    found = []
    for index in range(count):
        order = order_of(shard=(index, count), key=key)
        for number in range(len(order)):
            bucket, positions = order.batch(number)
            assert set(BUCKETS[positions]) == {bucket}
            assert 0 < len(positions) <= SIZES[bucket]
            found += positions.tolist()
    assert sorted(found) == list(range(len(BUCKETS)))


def test_a_bucket_keeps_the_order_of_the_epoch_and_is_spread_over_it():
    order = order_of()
    batches = [order.batch(number) for number in range(len(order))]
    for bucket in range(3):
        own = [number for number, batch in enumerate(batches) if batch.bucket == bucket]
        positions = np.concatenate([batches[number].positions for number in own])
        assert (np.diff(positions) > 0).all()
        # At any time a bucket is as far as the epoch, but for a batch of its own and one of each
        # of the others.
        expected = np.linspace(0, len(batches), len(own), endpoint=False)
        assert np.abs(own - expected).max() <= len(batches) / len(own) + len(SIZES)


def test_hosts_that_drop_remainders_have_the_same_steps():
    orders = [order_of(shard=(index, 7), drop_remainder=True) for index in range(7)]
    steps = [[order.batch(n).bucket for n in range(len(order))] for order in orders]
    assert all(each == steps[0] for each in steps)
    sizes = {(b, len(p)) for order in orders for b, p in map(order.batch, range(len(order)))}
    assert sizes == {(0, 16), (1, 16), (2, 8)}


def test_each_epoch_mixes_its_buckets_anew():
    first, second = (
        [order.batch(n).bucket for n in range(len(order))]
        for order in (order_of(key=(1, 0)), order_of(key=(1, 1)))
    )
    assert first != second
    assert sorted(first) == sorted(second)


def test_a_bucket_without_records_has_no_batches():
    order = BucketOrder(
        np.zeros(5, np.uint8), (2, 2), shard=(0, 1), key=(0, 0), drop_remainder=False
    )
    assert [order.batch(n).positions.tolist() for n in range(len(order))] == [[0, 1], [2, 3], [4]]
