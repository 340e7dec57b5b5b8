"""The training loader: batches made by tf.data, in parallel and ahead of their steps."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

BATCHES_AHEAD = 2


def load_batches(make: Callable[[int], np.ndarray], first: int, end: int) -> Iterator[np.ndarray]:
    """Yields make(first), ..., make(end - 1) in this order.

    Args:
      make: A pure function of a batch's number, called from several threads at once.
      first: The first number.
      end: One more than the last number.

    Raises:
      Exception: The error of `make`, in the place of the batch it belongs to.
    """
    errors: dict[int, Exception] = {}

    def try_to_make(number: np.int64) -> np.ndarray:
        # An error is raised below: one that is raised in here becomes a TensorFlow error.
        try:
            return make(int(number))
        except Exception as error:
            errors[int(number)] = error
            return np.empty(0, np.uint8)

    def call(number: tf.Tensor) -> tf.Tensor:
        # Under op determinism tf.data does not run stateful functions in parallel.
        return tf.numpy_function(try_to_make, [number], tf.uint8, stateful=False)

    numbers = tf.data.Dataset.range(first, end)
    batches = numbers.map(call, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    for number, batch in enumerate(batches.prefetch(BATCHES_AHEAD).as_numpy_iterator(), first):
        if number in errors:
            raise errors[number]
        yield batch
