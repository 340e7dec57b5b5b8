"""The imported autoencoder: encoder and decoder as graphs, with our quantizer between them."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from fsq.errors import RequestError
from fsq.imported import Graph, shorten
from fsq.imported.layouts import (
    image_layouts,
    images_to_last,
    latents_to_last,
    place_images,
    place_latents,
)
from fsq.imported.reference_batch import REFERENCE_IMAGES, REFERENCE_TOKENS, Reference
from fsq.quantizer.fsq_layer import FSQ
from fsq.spec.contract import ImportedSpec

ENCODER, DECODER = "encoder", "decoder"


@dataclasses.dataclass(frozen=True)
class ImportedAutoencoder:
    """Images -> latents -> codes -> images, with imported networks; stands in for `Autoencoder`.

    Attributes:
      spec: Lattice, image contract and layouts of the networks.
      quantizer: Latents to tokens.
      arrays: The content of the weights file: the graphs as uint8, the
        reference batch as images and tokens.
    """

    spec: ImportedSpec
    quantizer: FSQ
    arrays: dict[str, np.ndarray]
    _encoder: Graph
    _decoder: Graph | None

    def encoder(self, images: Any, training: bool = False) -> Any:
        """Images float32 [B, H, W, C] -> latents float32 [B, rows, columns, D]."""
        network, graph = self.spec.network, self._encoder
        latents = graph(place_images(images, network.images, graph.arrays))
        shape = (*network.grid, len(self.spec.levels))
        return latents_to_last(latents, network.latents, shape, graph.arrays)

    def decoder(self, codes: Any, training: bool = False) -> Any:
        """Codes [B, rows, columns, D] -> images float32 [B, H, W, C]."""
        network, graph = self.spec.network, self._decoder
        assert graph is not None
        images = graph(place_latents(np.asarray(codes), network.latents, np))
        return images_to_last(images, network.images, graph.arrays)

    def at_size(self, height: int, width: int) -> "ImportedAutoencoder":
        """Returns the same graphs for images of another size.

        Raises:
          RequestError: The encoder does not take them.
        """
        spec = self.spec
        rows, columns = spec.network.grid
        grid = height * rows // spec.image.height, width * columns // spec.image.width
        other = dataclasses.replace(
            self,
            spec=spec.model_copy(
                update={
                    "image": spec.image.resized(height, width),
                    "network": spec.network.model_copy(update={"grid": grid}),
                }
            ),
        )
        _check_size(other, grid, (height, width))
        return other

    @property
    def reference(self) -> Reference:
        """The batch that the import was checked against."""
        return Reference(self.arrays[REFERENCE_IMAGES], self.arrays[REFERENCE_TOKENS])

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the content of the weights file."""
        return self.arrays


def build_imported(
    spec: ImportedSpec, arrays: dict[str, np.ndarray], where: str
) -> ImportedAutoencoder:
    """Builds an imported autoencoder from the content of its weights file.

    Args:
      spec: Lattice, image contract and layouts of the networks.
      arrays: See `ImportedAutoencoder.arrays`.
      where: The file, for error messages.

    Raises:
      RequestError: An array is missing, unexpected or of another shape, or a
        graph is damaged or not safe to run.
    """
    expected = {ENCODER, REFERENCE_IMAGES, REFERENCE_TOKENS}
    expected |= {DECODER} if spec.network.decoder else set()
    if odd := sorted(expected ^ arrays.keys()):
        raise RequestError(
            f"{where}: expected the arrays {sorted(expected)}, got {sorted(arrays)}; "
            f"{odd[0]!r} is in only one of them. Copy both files of the tokenizer again."
        )
    images, tokens = arrays[REFERENCE_IMAGES], arrays[REFERENCE_TOKENS]
    shapes = ((len(images), *spec.image.shape), (len(images), *spec.grid))
    dtypes = (images.dtype, tokens.dtype)
    if (images.shape, tokens.shape) != shapes or dtypes != (np.uint8, np.int64) or not len(images):
        raise RequestError(
            f"{where}: expected a reference batch of uint8 images and int64 tokens, "
            f"{list(shapes[0][1:])} and {list(shapes[1][1:])}, got {dtypes[0]} "
            f"{list(images.shape)} and {dtypes[1]} {list(tokens.shape)}."
        )
    graphs = {
        name: load_graph(spec.network.kind, arrays[name].tobytes(), f"{where}: {name}")
        for name in (ENCODER, DECODER)
        if name in arrays
    }
    quantizer = FSQ(spec.levels, preset=spec.preset, eps=spec.eps, dtype="float32", name="fsq")
    quantizer.build((None, *spec.grid, len(spec.levels)))
    return ImportedAutoencoder(spec, quantizer, arrays, graphs[ENCODER], graphs.get(DECODER))


def _check_size(other: ImportedAutoencoder, grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises a RequestError unless the encoder gives a grid of latents for images of a size."""
    network, graph = other.spec.network, other._encoder
    images = np.zeros((1, *other.spec.image.shape), np.float32)
    found: tuple[int, ...] = ()
    if network.images in image_layouts(graph.input_shape, other.spec.image):
        try:
            found = tuple(np.shape(graph(place_images(images, network.images, graph.arrays))))
            reason = f"latents {list(found)}"
        except Exception as error:  # ONNX Runtime and TensorFlow raise errors of many types
            reason = shorten(" ".join(str(error).split()))
    else:
        # TensorFlow would run it all the same, with sizes of the other inside the graph.
        reason = f"one of the input shape {list(graph.input_shape or ())}"
    depth = len(other.spec.levels)
    first = network.latents == "channels_first"
    expected = (1, depth, *grid) if first else (1, *grid, depth)
    if found != expected:
        raise RequestError(
            f"tokenizer: expected an encoder of images of any size, which gives latents "
            f"{list(expected)} for one of {size[0]} x {size[1]}, got: {reason}. Export it with "
            "open height and width (None in Keras, dynamic axes in ONNX) and import it again; "
            "networks that 'fsq train' makes take any size."
        )


def load_graph(kind: str, data: bytes, where: str) -> Graph:
    """Loads a graph so that it can be called.

    Args:
      kind: 'tensorflow' or 'onnx'.
      data: The serialized graph.
      where: The file, for error messages.

    Raises:
      RequestError: It is damaged, or holds an operation that is not safe to run.
    """
    if kind == "tensorflow":
        from fsq.imported.tf_graph import TensorFlowGraph

        return TensorFlowGraph(data, where)
    from fsq.imported.onnx_graph import OnnxGraph

    # One thread unless TensorFlow is configured otherwise: a job encodes one unit per core, and
    # more threads inside each call would compete with them.
    threads = max(1, tf.config.threading.get_intra_op_parallelism_threads())
    return OnnxGraph(data, where, threads)
