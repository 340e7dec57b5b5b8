"""An encoder as OpenVINO keeps it: made of a Keras model once, run without TensorFlow after."""

import dataclasses

from fsq.quantizer.lattice import Levels


@dataclasses.dataclass(frozen=True)
class OpenVinoModel:
    """Pixels to latents as a graph for one batch size, and what makes tokens of the latents.

    Attributes:
      graph: The operations, XML. uint8 [B, S, S, C] in, float32 [B, rows, columns, D] out.
      weights: Their constants, float32.
      images_shape: B, S, S, C.
      grid: Rows and columns.
      levels: Values per channel, length D.
      preset: Of the bound.
      eps: Of the bound.
    """

    graph: bytes
    weights: bytes
    images_shape: tuple[int, ...]
    grid: tuple[int, int]
    levels: Levels
    preset: str
    eps: float
