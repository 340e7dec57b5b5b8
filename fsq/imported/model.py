"""The imported autoencoder: encoder and decoder as graphs, with our quantizer between them."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from fsq.errors import RequestError
from fsq.imported import Graph
from fsq.imported.layouts import images_to_last, latents_to_last, place_images, place_latents
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
