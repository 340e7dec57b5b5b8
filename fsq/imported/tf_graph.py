"""TensorFlow models as frozen graphs: Keras files and SavedModels in, GraphDef bytes out."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.errors import RequestError
from fsq.imported.op_allowlist import check_graph, check_saved_model, graph_nodes

INPUT, OUTPUT = "input", "output"


class FrozenGraph:
    """A GraphDef that is nothing but safe operations and constants; a `Graph`.

    Args:
      data: A serialized GraphDef, float32 from the placeholder `input` to the
        node `output`.
      where: For messages.

    Raises:
      RequestError: The bytes are something else, or hold an unsafe operation.
    """

    arrays: ModuleType = tf

    def __init__(self, data: bytes, where: str):
        try:
            graph = tf.compat.v1.GraphDef.FromString(data)
        except DecodeError as error:
            raise RequestError(f"{where}: expected a TensorFlow graph, got other bytes.") from error
        check_graph(graph, where)
        places = [node for node in graph.node if node.op == "Placeholder"]
        if [node.name for node in places] != [INPUT] or all(n.name != OUTPUT for n in graph.node):
            raise RequestError(f"{where}: expected a graph from {INPUT!r} to {OUTPUT!r}.")
        shape = tf.TensorShape(places[0].attr["shape"].shape)
        self.input_shape = None if shape.rank is None else tuple(shape.as_list())

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
        def run(values: tf.Tensor) -> tf.Tensor:
            (output,) = tf.graph_util.import_graph_def(
                graph, {INPUT: values}, [f"{OUTPUT}:0"], name=""
            )
            return output

        try:
            self._run = run.get_concrete_function()
        except (ValueError, tf.errors.OpError) as error:
            raise RequestError(f"{where}: expected a whole graph, got: {_first(error)}.") from error

    def __call__(self, values: Any) -> Any:
        """Runs the network; see `Graph`."""
        return self._run(tf.convert_to_tensor(values))


def freeze_keras(path: str) -> bytes:
    """Freezes the model in a .keras file.

    Raises:
      RequestError: Keras cannot load it without running code from it, or it is
        not a model from one tensor to one.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras raises almost anything on a damaged file or an unknown layer.
    except Exception as error:
        raise RequestError(
            f"{path}: expected a Keras model that loads without code of its own, "
            f"got: {_first(error)}."
        ) from error
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise RequestError(
            f"{path}: expected a model from one tensor to one, got {len(inputs)} inputs and "
            f"{len(outputs)} outputs."
        )
    shape, dtype = tuple(inputs[0].shape), inputs[0].dtype
    return _freeze(lambda values: model(tf.cast(values, dtype), training=False), shape, path)


def freeze_saved_model(path: str, signature_name: str) -> bytes:
    """Freezes one signature of a SavedModel.

    Args:
      path: The SavedModel's directory.
      signature_name: Preferred to 'serving_default', where it exists.

    Raises:
      RequestError: The directory holds something else, a signature from one
        tensor to one is missing, or an operation is not safe.
    """
    try:
        proto = saved_model_pb2.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise RequestError(
            f"{path}: expected a SavedModel, found no saved_model.pb that can be read."
        ) from error
    check_saved_model(proto, path)
    try:
        loaded = tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise RequestError(f"{path}: expected a whole SavedModel, got: {_first(error)}.") from error
    names = sorted(loaded.signatures)
    chosen = next((name for name in (signature_name, "serving_default") if name in names), None)
    if chosen is None:
        raise RequestError(
            f"{path}: expected a signature {signature_name!r} or 'serving_default', got {names}."
        )
    function = loaded.signatures[chosen]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise RequestError(
            f"{path}: expected a signature {chosen!r} from one tensor to one, got "
            f"{len(inputs)} inputs and {len(outputs)} outputs."
        )
    ((name, spec),) = inputs.items()
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())

    def run(values: tf.Tensor) -> tf.Tensor:
        (output,) = function(**{name: tf.cast(values, spec.dtype)}).values()
        return output

    return _freeze(run, shape, path)


def _freeze(
    function: Callable[[Any], Any], shape: tuple[int | None, ...] | None, where: str
) -> bytes:
    """Turns a function of variables into a GraphDef of constants, float32 in and out."""
    if shape is not None and shape[:1] != (None,):
        raise RequestError(
            f"{where}: expected a model for any number of images, got the input shape "
            f"{list(shape)}. Export it with an open first dimension."
        )

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def run(values: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(values), tf.float32)

    try:
        graph = _constants_of(run.get_concrete_function(), shape)
        data = graph.SerializeToString(deterministic=True)
    # A resource that cannot become a constant, an output of another kind, more than 2 GB.
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise RequestError(
            f"{where}: expected a network that can be frozen, got: {_first(error)}."
        ) from error
    check_graph(graph, where)
    return data


def _constants_of(function: Any, shape: tuple[int | None, ...] | None) -> Any:
    """Copies a function into a GraphDef from `input` to `output`, its variables as constants."""
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    with tf.Graph().as_default() as graph:
        place = tf.compat.v1.placeholder(tf.float32, shape, INPUT)
        (output,) = tf.graph_util.import_graph_def(
            frozen.graph.as_graph_def(),
            {frozen.inputs[0].name: place},
            [frozen.outputs[0].name],
            name="network",
        )
        tf.identity(output, OUTPUT)
    graph_def = graph.as_graph_def()
    # The frozen graph's own placeholder is cut off, but still there.
    kept = [node for node in graph_def.node if node.op != "Placeholder" or node.name == INPUT]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    for node in graph_nodes(graph_def):
        node.device = ""  # that of the machine it was saved on
    return graph_def


def _first(error: Exception) -> str:
    """The first line of a library's message, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150].rstrip(".")
