"""The encoder in OpenVINO on the CPU, the quantizer behind it in TensorFlow. Needs `openvino`.

OpenVINO folds constants, chooses memory layouts and fuses normalisation and
activations with the convolutions before them; that is where its speed comes
from, and its other last decimals.
"""

# ruff: noqa: E402 - one thing has to be done before the imports
import queue
import sys

# OpenVINO reports over the network that it was imported, and writes into the home folder, unless
# the package that does so is missing. What others do with their images is nobody's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np
import openvino
import tensorflow as tf
from openvino.frontend import FrontEndManager
from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fsq.autoencoder import Autoencoder
from fsq.runtimes.tensorflow_graph import trace_encoder, trace_quantizer

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoStreams:
    """Pixels to tokens, as many batches at a time as there are streams.

    A stream is one thread with memory of its own. Several fill the cores better
    than one call on all of them, since a caller brings the next batch meanwhile;
    the latents are the same, bit for bit, whatever their number.

    Args:
      autoencoder: Encoder and quantizer.
      batch_size: Images per call.
      streams: Batches at a time.
      precision: 'float32', or 'bfloat16', which moves some per cent of the tokens.
    """

    def __init__(
        self, autoencoder: Autoencoder, batch_size: int, *, streams: int, precision: str = "float32"
    ):
        self.batch_size = batch_size
        self._shape = (batch_size, *autoencoder.spec.image.shape)
        self._quantize = trace_quantizer(autoencoder, batch_size)
        compiled = openvino.Core().compile_model(
            _model_of(autoencoder, batch_size),
            "CPU",
            {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams,
                "INFERENCE_PRECISION_HINT": HINTS[precision],
                "ENABLE_CPU_PINNING": False,
            },
        )
        # One more than streams, so that a batch lies ready when a stream becomes free.
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(streams + 1):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == self._shape, (images.shape, self._shape)
        request = self._requests.get()
        try:
            request.infer({0: images}, share_inputs=True)
            # Copied by `tf.constant` before the request is anybody else's.
            latents = tf.constant(request.get_output_tensor(0).data)
        finally:
            self._requests.put(request)
        return self._quantize(latents).numpy()


def _model_of(autoencoder: Autoencoder, batch_size: int) -> openvino.Model:
    graph = convert_variables_to_constants_v2(trace_encoder(autoencoder, batch_size)).graph
    frontend = FrontEndManager().load_by_framework("tf")
    # What is converted refers to both, without holding them.
    iterator = GraphIteratorTFGraph(graph, share_weights=False)
    loaded = frontend.load(iterator)
    return frontend.convert(loaded)
