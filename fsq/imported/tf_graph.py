"""TensorFlow graphs: Keras files and SavedModels converted to GraphDefs, and those loaded."""

import re
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
from fsq.imported import refuse_tokens, shorten
from fsq.imported.op_allowlist import check_graph, check_saved_model, graph_nodes

INPUT, OUTPUT = "input", "output"


class TensorFlowGraph:
    """A `Graph` from a GraphDef of constants and allowed operations alone.

    Args:
      data: A serialized GraphDef, float32 from the placeholder `input` to the
        node `output`.
      where: The file, for error messages.

    Raises:
      RequestError: The bytes are no such GraphDef, or hold an operation that is not allowed.
    """

    arrays: ModuleType = tf
    output_type = "float32"

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


def keras_to_graph(path: str, role: str) -> bytes:
    """Converts the model in a .keras file to a serialized GraphDef.

    Args:
      path: The file.
      role: 'encoder' or 'decoder'.

    Raises:
      RequestError: Keras cannot load it without running code from the file, or
        it has more than one input or output.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras raises almost anything on a damaged file or an unknown layer.
    except Exception as error:
        if (layer := _layer_with_code(str(error))) is not None:
            raise RequestError(
                f"{path}: expected layers of Keras alone, got {layer}, whose code is not in the "
                "file. Export a SavedModel where that code is, with model.export(DIRECTORY), and "
                f"give the directory as {role}."
            ) from error
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
    return _to_graph(
        lambda values: model(tf.cast(values, dtype), training=False), shape, path, role
    )


def _layer_with_code(message: str) -> str | None:
    """Names the layer or function for which Keras found no code, or runs none; None if no such."""
    if found := re.search(r"Could not locate (class|function) '([^']+)'", message):
        kind = "layer" if found[1] == "class" else "function"
        return f"the custom {kind} {found[2].rpartition('>')[2]!r}"
    if "Lambda" in message and "safe_mode" in message:
        return "a Lambda layer"
    return None


def saved_model_to_graph(path: str, role: str) -> bytes:
    """Converts one signature of a SavedModel to a serialized GraphDef.

    Args:
      path: The SavedModel's directory.
      role: 'encoder' or 'decoder': the signature that is preferred to
        'serving_default', where it exists.

    Raises:
      RequestError: The directory holds no SavedModel, no signature with one
        input and one output, or an operation that is not allowed.
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
    chosen = next((name for name in (role, "serving_default") if name in names), None)
    if chosen is None:
        raise RequestError(
            f"{path}: expected a signature {role!r} or 'serving_default', got {names}."
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

    return _to_graph(run, shape, path, role)


def _to_graph(
    function: Callable[[Any], Any], shape: tuple[int | None, ...] | None, where: str, role: str
) -> bytes:
    """Converts a function with variables to a GraphDef of constants, float32 in and out."""
    if shape is not None and shape[:1] != (None,):
        raise RequestError(
            f"{where}: expected a model for any number of images, got the input shape "
            f"{list(shape)}. Export it with an open first dimension."
        )

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def run(values: tf.Tensor) -> tf.Tensor:
        found = function(values)
        if role == "encoder":
            refuse_tokens(found.dtype.name, where)
        return tf.cast(found, tf.float32)

    try:
        graph = _inline_variables(run.get_concrete_function(), shape)
        data = graph.SerializeToString(deterministic=True)
    # A resource that cannot become a constant, an output of another kind, more than 2 GB.
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise RequestError(
            f"{where}: expected a network whose variables can become constants, "
            f"got: {_first(error)}."
        ) from error
    check_graph(graph, where)
    return data


def _inline_variables(function: Any, shape: tuple[int | None, ...] | None) -> Any:
    """Returns a GraphDef from `input` to `output` with the variables as constants."""
    constant = convert_variables_to_constants_v2(function, lower_control_flow=False)
    with tf.Graph().as_default() as graph:
        place = tf.compat.v1.placeholder(tf.float32, shape, INPUT)
        (output,) = tf.graph_util.import_graph_def(
            constant.graph.as_graph_def(),
            {constant.inputs[0].name: place},
            [constant.outputs[0].name],
            name="network",
        )
        tf.identity(output, OUTPUT)
    graph_def = graph.as_graph_def()
    # The function's own placeholder is no longer connected, but still there.
    kept = [node for node in graph_def.node if node.op != "Placeholder" or node.name == INPUT]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    for node in graph_nodes(graph_def):
        node.device = ""  # a device of the machine that it was saved on
    return graph_def


def _first(error: Exception) -> str:
    """Returns the first line of a library's error message, without its full stop."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return shorten(line)
