"""An epoch of images as a tf.data.Dataset: decoded by all cores, in one order."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fsq.cores import count_cores
from fsq.errors import RequestError
from fsq.forked import refuse_fork
from fsq.images.png_fast_path import load_opencv
from pipeline.loading.image_epoch import Columns, ImageEpoch

# A Python call takes as long as decoding a few small images.
RECORDS_PER_CALL = 32


def batches_of(
    epoch: ImageEpoch,
    *,
    batch_size: int,
    start: int | None = None,
    drop_remainder: bool = False,
    prefetch: int = 2,
) -> Any:
    """Returns the views of an epoch in batches, as a tf.data.Dataset of dicts; see `fields`.

    Args:
      epoch: The epoch.
      batch_size: Views per batch.
      start: Position of the first view; None for the begin of the share.
      drop_remainder: Drop the last partial batch.
      prefetch: Batches to prefetch.

    Raises:
      RequestError: The share has no such position, or this process was forked from one that
        had run TensorFlow.
    """
    refuse_fork("image_dataset")
    import tensorflow as tf

    # An import in one thread can break one in another.
    load_opencv()
    views = epoch.views_per_image
    first, last = epoch.begin * views, epoch.end * views
    start = first if start is None else start
    if not first <= start <= last:
        raise RequestError(
            f"start: expected a position from {first:,} to {last:,}, those of the share, got "
            f"{start:,}. After the last, start the next epoch."
        )
    fields = epoch.fields()
    types = [tf.string if f.dtype == np.dtype(object) else f.dtype for f in fields.values()]
    load = _loader(epoch, start)

    def fetch(position: Any) -> dict[str, Any]:
        tensors = tf.numpy_function(load, [position], types, stateful=False)
        return {
            name: tf.ensure_shape(tensor, [None, *field.shape])
            for (name, field), tensor in zip(fields.items(), tensors, strict=True)
        }

    calls = tf.data.Dataset.range(start // views, epoch.end, RECORDS_PER_CALL)
    # A fixed number of threads: tf.data's own choice takes a while to reach all cores.
    rows = calls.map(fetch, num_parallel_calls=count_cores() + 1, deterministic=True)
    dataset = rows.rebatch(batch_size, drop_remainder=drop_remainder)
    if epoch.count is not None:
        left = last - start
        count = left // batch_size if drop_remainder else -(-left // batch_size)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    dataset = dataset.prefetch(prefetch)
    # Datasets made of this one, and iterators over them, keep it, and it keeps the epoch.
    dataset.image_epoch = epoch
    dataset.rejects = epoch.rejects
    return dataset


def read_batches(epoch: ImageEpoch, **arguments: Any) -> Iterator[Columns]:
    """Yields the same batches in NumPy.

    Args:
      epoch: The epoch.
      arguments: Those of `batches_of`.

    Raises:
      RequestError, DataError: See `batches_of`, `ImageEpoch.read`.
    """
    import tensorflow as tf

    try:
        yield from batches_of(epoch, **arguments).as_numpy_iterator()
    except tf.errors.OpError:
        if epoch.failure is None:
            raise
        raise epoch.failure from None


def _loader(epoch: ImageEpoch, start: int) -> Callable[[np.int64], list[np.ndarray]]:
    """Returns the function that loads rows for TensorFlow, which never frees it.

    So it does not own the epoch.
    """
    reference, names = weakref.ref(epoch), tuple(epoch.fields())

    def load(position: np.int64) -> list[np.ndarray]:
        current = reference()
        assert current is not None, "the dataset is read after it was deleted"
        first = int(position)
        columns = current.read(first, min(first + RECORDS_PER_CALL, current.end))
        # The first record may have views before the start.
        taken = columns["position"] >= start
        return [columns[name] if taken.all() else columns[name][taken] for name in names]

    return load
