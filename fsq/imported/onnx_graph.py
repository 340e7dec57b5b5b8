"""ONNX models in ONNX Runtime. Needs the extra `onnx`."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from fsq.errors import RequestError
from fsq.imported import shorten
from fsq.installation import install_command

# Operations of other domains are implemented by native libraries, which cannot be checked. ONNX
# Runtime's own (com.microsoft) occur only in models that it has optimized for one machine.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
RANDOM_OPS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
    | {"RandomUniformLike"}
)
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxGraph:
    """A `Graph` from an ONNX model, run by ONNX Runtime on the CPU.

    A model with a fixed batch size is run as often as needed, the last batch
    padded with zeros.

    Args:
      data: The bytes of the file.
      where: The file, for error messages.
      threads: Threads inside one run. The latents of convolutions were the same
        bit for bit with 1 to 8 threads and batches of 1 to 256.

    Raises:
      RequestError: The bytes are no ONNX model with one input and one output,
        its weights are in other files, or it has operations beyond the standard
        ones; or ONNX Runtime is not installed.
    """

    arrays: ModuleType = np

    def __init__(self, data: bytes, where: str, threads: int):
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise RequestError(
                f"{where}: expected ONNX Runtime to run it, found no module {error.name!r}. "
                f"Install the extra: {install_command('onnx')}."
            ) from error
        check_onnx(_parse(onnx, data, where), where)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors come as exceptions
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions have no other base class in common.
        except Exception as error:
            raise RequestError(
                f"{where}: expected a model that ONNX Runtime {onnxruntime.__version__} runs, "
                f"got: {shorten(str(error))}."
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise RequestError(
                f"{where}: expected a model from one tensor to one, got inputs "
                f"{[i.name for i in inputs]} and outputs {[o.name for o in outputs]}. "
                "Export the latents, or the images, alone."
            )
        if inputs[0].type not in _TYPES:
            raise RequestError(
                f"{where}: expected floats as input, got {inputs[0].type}. "
                "Export the network without the conversion of pixels."
            )
        self.output_type = outputs[0].type
        self._name, self._dtype = inputs[0].name, _TYPES[inputs[0].type]
        # A dimension that may be of any size has a name, or nothing, in place of a number.
        shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        self.input_shape = shape or None
        self._batch_size = shape[0] if shape else None

    def __call__(self, values: Any) -> Any:
        """Runs the network; see `Graph`."""
        values = np.ascontiguousarray(values, self._dtype)
        count, step = len(values), self._batch_size or len(values)
        if missing := -count % step:
            values = np.concatenate([values, np.zeros((missing, *values.shape[1:]), self._dtype)])
        pieces = [
            self._session.run(None, {self._name: values[start : start + step]})[0]
            for start in range(0, len(values), step)
        ]
        return np.concatenate(pieces)[:count].astype(np.float32, copy=False)


def check_onnx(model: Any, where: str) -> None:
    """Checks that a model is one file, of standard and deterministic operations.

    Raises:
      RequestError: It is not.
    """
    own = {(function.domain, function.name) for function in model.functions}
    for part in [model.graph, *model.functions]:
        for node in _nodes(part):
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
                raise RequestError(
                    f"{where}: expected the operations of ONNX alone, got {node.op_type!r} of "
                    f"{node.domain!r}. Export the network without it."
                )
            if node.domain in DOMAINS and node.op_type in RANDOM_OPS:
                raise RequestError(
                    f"{where}: expected the same output each time, got {node.op_type!r}. "
                    "Export the network for inference."
                )
        for tensor in _tensors(part):
            if tensor.external_data or tensor.data_location == tensor.EXTERNAL:
                raise RequestError(
                    f"{where}: expected all weights in this one file, found some outside. "
                    "Export again with external_data=False, or onnx.save the loaded model."
                )


def _parse(onnx: Any, data: bytes, where: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        model = None
    if model is None or not model.graph.node:
        raise RequestError(f"{where}: expected an ONNX model, got other bytes.")
    return model


def _nodes(part: Any) -> Iterator[Any]:
    """Yields all nodes of a graph or a function, those of branches and loops included."""
    for node in part.node:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph)


def _tensors(part: Any) -> Iterator[Any]:
    """Yields all constants of a graph or a function."""
    for node in _nodes(part):
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from [sparse.values, sparse.indices]
            for graph in [attribute.g, *attribute.graphs]:
                yield from _initializers(graph)
    yield from _initializers(part)


def _initializers(part: Any) -> Iterator[Any]:
    yield from getattr(part, "initializer", ())
    for sparse in getattr(part, "sparse_initializer", ()):
        yield from [sparse.values, sparse.indices]
