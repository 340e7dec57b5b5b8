"""Registry of runtimes: a new one is a module in this folder, and its name and entry here."""

from typing import Literal

from fsq.runtimes import onnxruntime, openvino, tensorflow
from fsq.runtimes.base import NetworkKind, RuntimeKind

RuntimeName = Literal["tensorflow", "xla", "openvino", "onnxruntime"]
RUNTIMES: dict[RuntimeName, RuntimeKind] = {
    "tensorflow": tensorflow.GRAPH,
    "xla": tensorflow.COMPILED_GRAPH,
    "openvino": openvino.KIND,
    "onnxruntime": onnxruntime.KIND,
}


def reference_runtime(network: NetworkKind) -> RuntimeName:
    """Returns the runtime whose tokens are the correct ones for a kind of network."""
    return next(
        name for name, kind in RUNTIMES.items() if kind.reference and network in kind.networks
    )


def packages() -> list[str]:
    """Returns the packages that any runtime needs beyond TensorFlow, sorted."""
    return sorted({kind.package.name for kind in RUNTIMES.values() if kind.package is not None})
