"""The cost of `FSQ.latents_to_indices`, against a minimal implementation in TensorFlow.

    python -m benchmarks.layer

times both on a [64, 16, 16, 4] batch of latents. The minimal implementation bounds, rounds,
converts to one integer per channel and sums. Both run in the same kind of graph and take
turns, because the speed of a shared machine changes within a minute. The ratio is the median
over all turns of the layer's time over the other's: at 1.00 or less, exactness and the NaN
check cost nothing.
"""

import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from fsq import FSQ

LEVELS = (8, 5, 5, 5)
SHAPE = (64, 16, 16, 4)
MODES: dict[str, Callable] = {
    "graph": tf.function,
    "jit": lambda function: tf.function(function, jit_compile=True),
    "eager": lambda function: function,
}


def shortest_expression(levels: tuple[int, ...], eps: float = 1e-3) -> Callable:
    """Returns a minimal `latents_to_indices` of the preset 'atanh', in plain TensorFlow."""
    level = np.array(levels)
    half = (level - 1) * (1 - eps) / 2
    offset = np.where(level % 2, 0.0, 0.5)
    shift, half, offset = (
        tf.constant(value, tf.float32) for value in (np.arctanh(offset / half), half, offset)
    )
    middle = tf.constant(level // 2, tf.int32)
    basis = tf.constant(np.cumprod([1, *levels[:-1]]), tf.int32)

    def tokens(z):
        steps = tf.cast(tf.round(tf.tanh(z + shift) * half - offset), tf.int32)
        return tf.reduce_sum((steps + middle) * basis, axis=-1)

    return tokens


def seconds_per_call(function: Callable, z: tf.Tensor, calls: int) -> float:
    """Returns the mean wall time of a call on latents z, in seconds."""
    start = time.perf_counter()
    for _ in range(calls):
        result = function(z)
    result.numpy()  # waits for the last
    return (time.perf_counter() - start) / calls


@click.command()
@click.option(
    "--turns", default=60, show_default=True, help="How often each implementation is timed."
)
@click.option("--calls", default=20, show_default=True, help="Calls in one turn.")
def main(turns: int, calls: int) -> None:
    """Times both implementations in turns and prints a table."""
    z = tf.random.stateless_normal(SHAPE, seed=[1, 2])
    table = Table("mode", "FSQ (us)", "minimal (us)", "ratio")
    for name, mode in MODES.items():
        ours, theirs = mode(FSQ(LEVELS).latents_to_indices), mode(shortest_expression(LEVELS))
        assert np.array_equal(ours(z), theirs(z)), name
        pairs = []
        for turn in range(turns):
            # A B, then B A: the second finds the caches warm.
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            seconds = {function: seconds_per_call(function, z, calls) for function in order}
            pairs.append((seconds[ours], seconds[theirs]))
        left, right = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        table.add_row(name, f"{left:.0f}", f"{right:.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
