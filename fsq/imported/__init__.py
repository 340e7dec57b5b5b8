"""Imported networks: computation graphs of encoders and decoders that were trained elsewhere.

A graph is data, a list of operations with their constants, and can be checked
before it runs. TensorFlow graphs and ONNX models share one interface, `Graph`.
"""

from types import ModuleType
from typing import Any, Protocol


class Graph(Protocol):
    """A network with one input and one output.

    Attributes:
      input_shape: As the file declares it, batch dimension first. A dimension
        of any size is None; the whole is None if no shape is declared.
      arrays: The module whose `transpose` and `reshape` take the graph's inputs
        and outputs: `tensorflow` or `numpy`.
    """

    input_shape: tuple[int | None, ...] | None
    arrays: ModuleType

    def __call__(self, values: Any) -> Any:
        """Runs the network on float32 [B, ...]; returns float32 [B, ...]."""
        ...
