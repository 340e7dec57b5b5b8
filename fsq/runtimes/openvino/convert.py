"""Conversion of an encoder to OpenVINO, through a TensorFlow graph."""

from pathlib import Path
from typing import Any

# Imported first, because it disables OpenVINO's telemetry.
import fsq.runtimes.openvino.streams  # noqa: F401

# isort: split
import openvino
from openvino.frontend import FrontEndManager
from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.runtimes.openvino.model import OpenVinoModel
from fsq.runtimes.tensorflow.graph import trace_encoder
from fsq.storage.temporary import temporary_folder


def convert_encoder(autoencoder: Any, batch_size: int) -> OpenVinoModel:
    """Converts the encoder of an autoencoder, trained here or imported, for one batch size.

    The result is in OpenVINO's file format, so that a converted encoder and one from
    the cache are the same.
    """
    graph = convert_variables_to_constants_v2(trace_encoder(autoencoder, batch_size)).graph
    frontend = FrontEndManager().load_by_framework("tf")
    # Both are named to keep them alive: the loaded graph refers to them without owning them.
    iterator = GraphIteratorTFGraph(graph, share_weights=False)
    loaded = frontend.load(iterator)
    spec = autoencoder.spec
    with temporary_folder() as folder:
        text, constants = Path(folder, "encoder.xml"), Path(folder, "encoder.bin")
        openvino.serialize(frontend.convert(loaded), text, constants)
        return OpenVinoModel(
            graph=text.read_bytes(),
            weights=constants.read_bytes(),
            images_shape=(batch_size, *spec.image.shape),
            grid=spec.grid,
            levels=spec.levels,
            preset=spec.preset,
            eps=spec.eps,
        )
