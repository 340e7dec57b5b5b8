"""Imported networks: computation graphs of encoders and decoders that were trained elsewhere.

A graph is data, a list of operations with their constants, and can be checked
before it runs. TensorFlow graphs and ONNX models share one interface, `Graph`.
"""

from types import ModuleType
from typing import Any, Protocol

from fsq.errors import RequestError


class Graph(Protocol):
    """A network with one input and one output.

    Attributes:
      input_shape: As the file declares it, batch dimension first. A dimension
        of any size is None; the whole is None if no shape is declared.
      output_type: Type of the output before it is converted to float32.
      arrays: The module whose `transpose` and `reshape` take the graph's inputs
        and outputs: `tensorflow` or `numpy`.
    """

    input_shape: tuple[int | None, ...] | None
    output_type: str
    arrays: ModuleType

    def __call__(self, values: Any) -> Any:
        """Runs the network on float32 [B, ...]; returns float32 [B, ...]."""
        ...


def shorten(text: str, most: int = 300) -> str:
    """Returns a library's message in a line, without its full stop and not longer than `most`."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= most else f"{line[:most]} ..."


def refuse_tokens(dtype: str, where: str) -> None:
    """Checks the type of an encoder's output.

    Raises:
      RequestError: It is one of integers, which are tokens and not latents.
    """
    if "int" in dtype:
        raise RequestError(
            f"{where}: expected latents as floats, got {dtype}: the encoder ends in tokens. "
            "Export it up to where FSQ begins."
        )
