"""OpenVINO streams: runs a converted encoder on the CPU, and the quantizer in NumPy.

OpenVINO folds constants, chooses memory layouts and fuses normalization and
activations into convolutions, which makes it fast, and makes its rounding errors
differ from the reference's. TensorFlow is not imported.
"""

# ruff: noqa: E402 - telemetry is disabled before the imports
import queue
import sys
from concurrent.futures import ThreadPoolExecutor

# OpenVINO reports over the network that it was imported, and writes into the home folder, unless
# its telemetry package is missing. Users' images are not to be reported on.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np
import openvino

from fsq.quantizer.numpy_quantizer import LatentsToTokens
from fsq.runtimes.base import Precision
from fsq.runtimes.openvino.model import OpenVinoModel

HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoStreams:
    """Pixels to tokens, as many batches at a time as there are streams.

    A stream is one thread with its own memory. Several streams use the cores better
    than one call on all cores, since callers prepare the next batch meanwhile; the
    latents are the same, bit for bit, for any number of streams.

    Args:
      model: The converted encoder, for one batch size.
      streams: Number of batches encoded at a time.
      precision: 'float32', or 'bfloat16', which changes some per cent of the tokens.
    """

    def __init__(self, model: OpenVinoModel, *, streams: int, precision: Precision = "float32"):
        self.model = model
        self.batch_size = model.images_shape[0]
        self._shape = model.images_shape
        self._grid = model.grid
        self._positions = model.grid[0] * model.grid[1]
        self._quantize = LatentsToTokens(
            model.levels, model.preset, model.eps, positions=self._positions
        )
        # OpenVINO gives the thread that loads its CPU plugin a signal stack, and frees it with the
        # plugin, whichever thread does that: the next Ctrl-C in the former crashes the process.
        with ThreadPoolExecutor(max_workers=1) as loader:
            compiled = loader.submit(_compile, model, streams, precision).result()
        # One more than streams, so that a batch is ready when a stream becomes free.
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(streams + 1):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Encodes one full batch; see `Runtime`."""
        assert images.shape == self._shape, (images.shape, self._shape)
        request = self._requests.get()
        try:
            request.infer({0: images}, share_inputs=True)
            # The latents are in the request's memory, which its next user overwrites.
            latents = request.get_output_tensor(0).data
            tokens = self._quantize(latents.reshape(self.batch_size, self._positions, -1))
        finally:
            self._requests.put(request)
        return tokens.reshape(self.batch_size, *self._grid)


def _compile(model: OpenVinoModel, streams: int, precision: Precision) -> openvino.CompiledModel:
    core = openvino.Core()
    return core.compile_model(
        core.read_model(model.graph, model.weights),
        "CPU",
        {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "ENABLE_CPU_PINNING": False,
        },
    )
