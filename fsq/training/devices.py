"""Devices of training: all GPUs or the CPU, set up for reproducible results."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from fsq.cores import count_cores


@contextlib.contextmanager
def devices_of_training() -> Iterator[tf.distribute.Strategy]:
    """Enters the scope of all GPUs, or of the CPU where there is none.

    Sets deterministic kernels and, unless TensorFlow has run already, one
    intra-op thread per core: the number of threads decides the order of sums.
    """
    tf.config.experimental.enable_op_determinism()
    with contextlib.suppress(RuntimeError):  # TensorFlow has run already; its threads stay
        tf.config.threading.set_intra_op_parallelism_threads(count_cores())
    gpus = tf.config.list_logical_devices("GPU")
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        yield strategy
