"""Which devices training runs on, set so that a seed gives the same weights again."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def devices_of_training() -> Iterator[tf.distribute.Strategy]:
    """Enters the scope of all GPUs, or of the CPU where there is none.

    TensorFlow is told to choose deterministic kernels and, if nothing has been
    run yet, to use as many threads as there are cores: sums are taken in an
    order that follows from the number of threads.
    """
    tf.config.experimental.enable_op_determinism()
    with contextlib.suppress(RuntimeError):  # TensorFlow has begun; its threads stay as they are
        tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    gpus = tf.config.list_logical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        yield strategy
