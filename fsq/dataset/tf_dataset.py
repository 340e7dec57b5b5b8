"""Batches as a tf.data.Dataset."""

import os
from typing import Any

import numpy as np

from fsq.dataset.argument_checks import check_whole
from fsq.dataset.sequence import SequenceSpec
from fsq.dataset.token_batches import TokenBatches
from fsq.dataset.view_selection import Views
from fsq.errors import RequestError

RECORDS_AT_ONCE = 2048


def token_dataset(
    directory: str | os.PathLike[str],
    split: str | None = None,
    *,
    batch_size: int,
    sequence: SequenceSpec | None = None,
    shuffle_seed: int | None = None,
    epoch: int = 0,
    shard: tuple[int, int] = (0, 1),
    views: Views = "all",
    with_labels: bool = False,
    drop_remainder: bool = False,
    start: int = 0,
    prefetch: int = 4,
) -> Any:
    """Reads one epoch of a finished dataset, or a host's share of it, as batches.

    Each batch is a pure function of its number, so a position in the middle of an epoch
    is that number: give the batches taken as `start`, or save the iterator in a
    tf.train.Checkpoint. Either way nothing before it is read again but the window of
    16,384 records in which it lies.

    Args: those of `TokenBatches`, which says what the order follows from, and
      start: The number of the first batch to read.
      prefetch: How many batches to have ready; -1 (tf.data.AUTOTUNE) lets tf.data decide.

    Returns:
      A tf.data.Dataset of dicts with what `TokenBatches` returns, text as string.

    Raises:
      RequestError: The directory is not a finished dataset, or has not what is asked for.
      DataError: It is damaged, or has a format that this version does not read. A shard that
        turns out to be damaged while it is read raises a tf.errors.OpError instead, with
        the line of the DataError in it; `TokenBatches` raises the DataError.
    """
    start = check_whole("start", start)
    prefetch = check_whole("prefetch", prefetch, least=-1)
    batches = TokenBatches(
        directory,
        split,
        batch_size=batch_size,
        sequence=sequence,
        shuffle_seed=shuffle_seed,
        epoch=epoch,
        shard=shard,
        views=views,
        with_labels=with_labels,
        drop_remainder=drop_remainder,
    )
    if not 0 <= start <= len(batches):
        raise RequestError(
            f"start: expected 0 to {len(batches):,}, the batches of an epoch, got {start:,}. "
            "Beyond its end, begin the next epoch."
        )
    dataset = _read(batches, start, batch_size, drop_remainder=drop_remainder)
    return dataset.prefetch(prefetch)


def _read(batches: TokenBatches, start: int, batch_size: int, *, drop_remainder: bool) -> Any:
    """Reads batches from number `start` on, several at a time."""
    import tensorflow as tf

    spec = batches.element_spec()
    types = [tf.string if dtype == np.dtype(object) else dtype for dtype, _ in spec.values()]
    # A call of Python takes as long as some hundred records, so it is made for several batches.
    at_once = max(1, RECORDS_AT_ONCE // batch_size)

    def load(first: np.int64) -> list[np.ndarray]:
        joined = batches.joined(int(first), min(int(first) + at_once, len(batches)))
        return [joined[name] for name in spec]

    def fetch(number: Any) -> dict[str, Any]:
        tensors = tf.numpy_function(load, [number], types, stateful=False)
        return {
            name: tf.ensure_shape(tensor, [None, *shape])
            for (name, (_, shape)), tensor in zip(spec.items(), tensors, strict=True)
        }

    joined = tf.data.Dataset.range(start, len(batches), at_once).map(fetch).prefetch(1)
    dataset = joined.rebatch(batch_size, drop_remainder=drop_remainder)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches) - start))
