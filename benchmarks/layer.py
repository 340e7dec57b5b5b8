"""What tokens of latents cost, beside the shortest expression of the same arithmetic.

    python -m benchmarks.layer

times `FSQ.latents_to_indices` on a [64, 16, 16, 4] batch of latents against
plain TensorFlow: bound, round, one integer per channel, one sum. Both run in
the same kind of graph and take turns within one run, because a shared machine
is not the same machine a minute later. The ratio is ours over theirs, the median
over all turns: 1.00 or less means that exactness and the NaN check cost nothing.
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
    """The paper's formula with the shift that it meant, and integer tokens, in plain TensorFlow."""
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
@click.option("--turns", default=60, show_default=True, help="How often each side is timed.")
@click.option("--calls", default=20, show_default=True, help="Calls in one turn.")
def main(turns: int, calls: int) -> None:
    """Times tokens of latents against the shortest expression, turn by turn."""
    z = tf.random.stateless_normal(SHAPE, seed=[1, 2])
    table = Table("mode", "FSQ (us)", "shortest (us)", "ratio")
    for name, mode in MODES.items():
        ours, theirs = mode(FSQ(LEVELS).latents_to_indices), mode(shortest_expression(LEVELS))
        assert np.array_equal(ours(z), theirs(z)), name
        pairs = []
        for turn in range(turns):
            # A B, then B A: whoever comes second finds the caches warm.
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            seconds = {function: seconds_per_call(function, z, calls) for function in order}
            pairs.append((seconds[ours], seconds[theirs]))
        left, right = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        table.add_row(name, f"{left:.0f}", f"{right:.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
