"""Dataset reader for TensorFlow: the batches of `TokenBatches` as a tf.data.Dataset."""

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from fsq.dataset.argument_checks import check_whole
from fsq.dataset.sequence import SequenceSpec
from fsq.dataset.token_batches import TokenBatches
from fsq.dataset.view_selection import Views
from fsq.errors import RequestError
from fsq.forked import refuse_fork

RECORDS_PER_CALL = 2048


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
    """Reads one epoch of a finished dataset, or one host's share of it, as batches.

    To resume within an epoch, pass the number of batches taken as `start`, or save the
    iterator in a tf.train.Checkpoint. Either way only the window of 16,384 records around
    the position is read again.

    Args: those of `TokenBatches`, and
      start: Index of the first batch to read.
      prefetch: Number of batches to prefetch; -1 (tf.data.AUTOTUNE) lets tf.data decide.

    Returns:
      A tf.data.Dataset of the dicts that `TokenBatches` returns, text as tf.string. In a
      dataset with buckets, the number of tokens is known of each batch, not of all.

    Raises: what `TokenBatches` raises. Damage found while iterating is a tf.errors.OpError
      that contains the DataError's message.
    """
    refuse_fork("token_dataset")
    start = check_whole("start", start)
    prefetch = check_whole("prefetch", prefetch, least=-1)
    open_batches = functools.partial(
        TokenBatches,
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
    batches = open_batches()
    if not 0 <= start <= len(batches):
        raise RequestError(
            f"start: expected 0 to {len(batches):,}, the batches of an epoch, got {start:,}. "
            "After the last, start the next epoch."
        )
    dataset = _read(open_batches, batches, start, batch_size, drop_remainder=drop_remainder)
    dataset = dataset.prefetch(prefetch)
    # Datasets made of this one, and iterators over them, keep it, and it keeps the reader.
    dataset.token_batches = batches
    return dataset


def _loader(
    open_batches: Callable[[], TokenBatches], batches: TokenBatches, batches_per_call: int
) -> Callable[[np.int64], list[np.ndarray]]:
    """Returns the function that loads `batches_per_call` batches for TensorFlow.

    TensorFlow never frees such a function, so it does not own the reader, whose windows
    take megabytes. If nobody keeps the reader, each call opens another.
    """
    reader = weakref.ref(batches)
    count, names = len(batches), tuple(batches.element_spec())

    def load(first: np.int64) -> list[np.ndarray]:
        current = reader() or open_batches()
        if current.has_buckets:
            joined = current[int(first)]
        else:
            joined = current.joined(int(first), min(int(first) + batches_per_call, count))
        return [joined[name] for name in names]

    return load


def _read(
    open_batches: Callable[[], TokenBatches],
    batches: TokenBatches,
    start: int,
    batch_size: int,
    *,
    drop_remainder: bool,
) -> Any:
    """Reads the batches from `start` on, several at a time."""
    import tensorflow as tf

    spec = batches.element_spec()
    types = [tf.string if dtype == np.dtype(object) else dtype for dtype, _ in spec.values()]
    # A Python call takes as long as some hundred records, so each loads several batches.
    batches_per_call = 1 if batches.has_buckets else max(1, RECORDS_PER_CALL // batch_size)
    load = _loader(open_batches, batches, batches_per_call)

    def fetch(number: Any) -> dict[str, Any]:
        tensors = tf.numpy_function(load, [number], types, stateful=False)
        return {
            name: tf.ensure_shape(tensor, [None, *shape])
            for (name, (_, shape)), tensor in zip(spec.items(), tensors, strict=True)
        }

    joined = tf.data.Dataset.range(start, len(batches), batches_per_call).map(fetch).prefetch(1)
    dataset = joined
    if not batches.has_buckets:
        dataset = joined.rebatch(batch_size, drop_remainder=drop_remainder)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches) - start))
