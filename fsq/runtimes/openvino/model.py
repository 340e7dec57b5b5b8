"""OpenVINO model: a converted encoder as bytes, which needs no TensorFlow to run."""

import dataclasses
import io
import json
import zipfile

from fsq.quantizer.lattice import Levels

_GRAPH, _WEIGHTS, _REST = "encoder.xml", "encoder.bin", "encoder.json"


@dataclasses.dataclass(frozen=True)
class OpenVinoModel:
    """The graph from pixels to latents for one batch size, and the quantizer's parameters.

    Attributes:
      graph: The operations, XML. uint8 [B, H, W, C] in, float32 [B, rows, columns, D] out.
      weights: Constants of the operations, float32.
      images_shape: B, H, W, C.
      grid: Rows and columns of tokens.
      levels: Values per channel, length D.
      preset: The quantizer's bound preset.
      eps: The quantizer's eps; see `fsq.quantizer.presets`.
    """

    graph: bytes
    weights: bytes
    images_shape: tuple[int, ...]
    grid: tuple[int, int]
    levels: Levels
    preset: str
    eps: float

    def to_bytes(self) -> bytes:
        """Packs the model into a zip file."""
        rest = dataclasses.asdict(self)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr(_GRAPH, rest.pop("graph"))
            file.writestr(_WEIGHTS, rest.pop("weights"))
            file.writestr(_REST, json.dumps(rest))
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "OpenVinoModel":
        """Unpacks what `to_bytes` packed.

        Raises:
          ValueError: The bytes are not a packed model.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                rest = json.loads(file.read(_REST))
                return cls(
                    graph=file.read(_GRAPH),
                    weights=file.read(_WEIGHTS),
                    images_shape=tuple(rest["images_shape"]),
                    grid=tuple(rest["grid"]),
                    levels=tuple(rest["levels"]),
                    preset=rest["preset"],
                    eps=rest["eps"],
                )
        except (KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"expected a packed OpenVINO model, got: {error}") from error
