"""Networks trained elsewhere, kept as graphs: data to be checked, no code to be trusted.

A graph is a network without its program: a list of operations with their
constants. Both kinds, frozen TensorFlow graphs and ONNX files, stand behind
one small interface.
"""

from types import ModuleType
from typing import Any, Protocol


class Graph(Protocol):
    """A network with one input and one output.

    Attributes:
      input_shape: As the file declares it, the batch first; None where any
        size is taken, and instead of all if nothing is declared.
      arrays: What computes on its values, `tensorflow` or `numpy`, as far as
        `transpose` and `reshape` go.
    """

    input_shape: tuple[int | None, ...] | None
    arrays: ModuleType

    def __call__(self, values: Any) -> Any:
        """Runs the network on float32 [B, ...]; returns float32 [B, ...]."""
        ...
