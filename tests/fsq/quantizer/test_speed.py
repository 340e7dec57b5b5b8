"""Tokens of latents take few passes: what keeps benchmarks/layer.py's ratio, without its clock."""

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from benchmarks.layer import main, shortest_expression
from fsq import FSQ
from fsq.quantizer.presets import PRESETS

NO_WORK = {"Const", "Placeholder", "Identity", "NoOp"}
SHAPE = [64, 16, 16, 4]


def passes(function):
    """The traced operations that touch every latent, and those that touch every token."""
    graph = tf.function(function).get_concrete_function(tf.TensorSpec(SHAPE, tf.float32)).graph
    work = [operation for operation in graph.get_operations() if operation.type not in NO_WORK]
    sizes = [int(np.prod(operation.inputs[0].shape)) for operation in work]
    latents = int(np.prod(SHAPE))
    of_latents = [op.type for op, size in zip(work, sizes, strict=True) if size == latents]
    return of_latents, [op.type for op, size in zip(work, sizes, strict=True) if size < latents]


def test_tokens_take_one_pass_over_the_latents_less_than_the_shortest_expression():
    ours, rest = passes(FSQ([8, 5, 5, 5]).latents_to_indices)
    assert ours == ["AddV2", "Tanh", "Mul", "Sub", "Round", "Mul", "Sum"]
    # On a quarter of the numbers: to digit 0, to integers, NaN to -1.
    assert rest == ["AddV2", "Cast", "IsNan", "SelectV2"]
    theirs, _ = passes(shortest_expression((8, 5, 5, 5)))
    assert len(ours) < len(theirs)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_takes_more_passes_than_the_default(preset):
    ours, rest = passes(FSQ([7, 5, 5, 5], preset=preset).latents_to_indices)
    assert (len(ours) <= 7, len(rest) <= 4) == (True, True)


def test_the_benchmark_compares_equal_tokens_and_prints_its_ratios():
    done = CliRunner().invoke(main, ["--turns", "1", "--calls", "1"])
    assert done.exit_code == 0, done.output
    assert [word in done.output for word in ("graph", "jit", "eager", "ratio")] == [True] * 4
