"""The layers mark NaN alike in every engine that can run their graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from fsq import FSQ, ResidualFSQ

pytestmark = [
    pytest.mark.slow,
    # Keras' own, while it exports to ONNX.
    pytest.mark.filterwarnings("ignore:.*np.object:FutureWarning"),
]

LAYERS = {
    "atanh": lambda: FSQ([8, 5, 5]),
    "official": lambda: FSQ([8, 5, 5], preset="official"),
    "torch": lambda: FSQ([8, 5, 5], preset="torch"),
    "symmetric": lambda: FSQ([8, 5, 5], preset="symmetric"),
    "ifsq": lambda: FSQ([7, 5, 5], preset="ifsq"),
    "torch, clamped": lambda: FSQ([8, 5, 5], preset="torch", hard_clamp=True),
    "symmetric, clamped": lambda: FSQ([8, 5, 5], preset="symmetric", hard_clamp=True),
    "summed as integers": lambda: FSQ([999, 1000, 500]),
    "residual": lambda: ResidualFSQ([8, 5, 5], 2),
    "residual, clipped": lambda: ResidualFSQ([8, 5, 5], 2, soft_clamp=False),
}
NAN, INF = np.nan, np.inf
LATENTS = np.array(
    [[0, 0, 0], [0, NAN, 0], [NAN] * 3, [INF, NAN, -INF], [INF] * 3, [-INF] * 3], np.float32
)


def in_a_graph(model, directory):
    return tf.function(model)


def in_xla(model, directory):
    return tf.function(model, jit_compile=True)


def in_a_saved_model(model, directory):
    model.export(directory, verbose=False)
    return tf.saved_model.load(directory).serve


def onnx_file(model, directory):
    pytest.importorskip("tf2onnx", reason="tf2onnx, which Keras exports with, is not installed")
    model.export(f"{directory}.onnx", format="onnx", verbose=False)
    return f"{directory}.onnx"


def in_onnxruntime(model, directory):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(onnx_file(model, directory))
    (one,) = session.get_inputs()  # the layer's constants are constants
    return lambda z: session.run(None, {one.name: z})[0]


def in_openvino(model, directory):
    openvino = pytest.importorskip("openvino")
    in_a_saved_model(model, directory)
    compiled = openvino.Core().compile_model(directory, "CPU")
    return lambda z: compiled(z)[0]


def in_openvino_from_onnx(model, directory):
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(onnx_file(model, directory), "CPU")
    return lambda z: compiled(z)[0]


def in_jax(model, directory):
    """TensorFlow's graph as a function of JAX, which compiles it."""
    jax2tf = pytest.importorskip("jax.experimental.jax2tf")
    jax = pytest.importorskip("jax")
    return jax.jit(jax2tf.call_tf(tf.function(model, autograph=False)))


engines = pytest.mark.parametrize(
    "engine",
    [
        in_a_graph,
        in_xla,
        in_a_saved_model,
        in_onnxruntime,
        in_openvino,
        in_openvino_from_onnx,
        in_jax,
    ],
)


def model_of_tokens(layers):
    """A functional model from latents to the tokens of every layer, side by side.

    Those of latents, of all layers; then those of codes, where a layer has some.
    """
    inputs = keras.Input((3,))
    tokens = [layer.latents_to_indices(inputs) for layer in layers]
    tokens += [layer.codes_to_indices(inputs) for layer in layers if isinstance(layer, FSQ)]
    columns = [ops.reshape(one, (-1, one.shape[-1] if one.ndim > 1 else 1)) for one in tokens]
    model = keras.Model(inputs, ops.concatenate(columns, axis=-1))
    model(np.full((1, 3), -1, np.float32))  # an export wants a call, and -1 is a code of all
    return model


def stages(layer):
    return getattr(layer, "num_quantizers", 1)


@engines
def test_nan_gives_minus_one_and_an_infinity_an_outermost_token(engine, tmp_path):
    layers = [make() for make in LAYERS.values()]
    if engine in (in_openvino, in_openvino_from_onnx):
        # Its sums of integers are float32: it has no exact tokens of more than 2^24 codes.
        layers = [layer for layer in layers if layer.codebook_size <= 2**24]
    found = np.asarray(engine(model_of_tokens(layers), str(tmp_path / "model"))(LATENTS))
    widths = [stages(layer) for layer in layers]
    of_latents = found[:, : sum(widths)]
    highest = np.repeat([layer.codebook_size - 1 for layer in layers], widths)
    zeros = np.concatenate([np.ravel(layer.latents_to_indices(LATENTS[0])) for layer in layers])
    marked = np.full_like(zeros, -1)
    expected = [zeros, marked, marked, marked, highest, 0 * zeros]
    np.testing.assert_array_equal(of_latents, np.array(expected))
    # Nothing but the first row can be codes.
    assert (found[1:, sum(widths) :] == -1).all()
