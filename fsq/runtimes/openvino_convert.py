"""A Keras encoder to OpenVINO, by way of TensorFlow. Needs `openvino`."""

import tempfile
from pathlib import Path
from typing import Any

# First, because it keeps OpenVINO from reporting its use.
from fsq.runtimes.openvino_streams import openvino

# isort: split
from openvino.frontend import FrontEndManager
from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.runtimes.openvino_model import OpenVinoModel
from fsq.runtimes.tensorflow_graph import trace_encoder


def convert_encoder(autoencoder: Any, batch_size: int) -> OpenVinoModel:
    """Converts the encoder of an `Autoencoder` or `ImportedAutoencoder` for one batch size.

    It goes through OpenVINO's file format, so that an encoder just converted and
    one that was kept are the same.
    """
    graph = convert_variables_to_constants_v2(trace_encoder(autoencoder, batch_size)).graph
    frontend = FrontEndManager().load_by_framework("tf")
    # What is converted refers to both, without holding them.
    iterator = GraphIteratorTFGraph(graph, share_weights=False)
    loaded = frontend.load(iterator)
    spec = autoencoder.spec
    with tempfile.TemporaryDirectory() as folder:
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
