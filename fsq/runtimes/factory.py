"""Names to runtimes."""

import os
from typing import Any

from fsq.errors import RequestError
from fsq.runtimes import NEEDS, Precision, Runtime, RuntimeName, is_installed
from fsq.runtimes.openvino_model import OpenVinoModel


def check_runtime(name: RuntimeName, precision: Precision, kind: str) -> None:
    """Says whether a network can be run so, before anything is loaded.

    Raises:
      RequestError: It cannot, or a package is missing.
    """
    if (name == "onnxruntime") != (kind == "onnx"):
        right = "onnxruntime" if kind == "onnx" else "tensorflow, xla or openvino"
        raise RequestError(
            f"runtime: expected {right} for this tokenizer's network ({kind}), got {name}. "
            "Correct it, or write auto."
        )
    if precision != "float32" and name != "openvino":
        raise RequestError(
            f"precision: expected float32 with runtime {name}, got {precision}. "
            "Only openvino has another."
        )
    if not is_installed(name):
        package, extra = NEEDS[name]
        raise RequestError(
            f"runtime: expected the package {package}, which runs this tokenizer, found it not "
            "installed. "
            f"Install the extra: pip install 'fsq-tokenizer[{extra}]'."
        )


def make_runtime(
    name: RuntimeName, autoencoder: Any, batch_size: int, precision: Precision = "float32"
) -> Runtime:
    """Makes a runtime for one batch size.

    Args:
      name: Which.
      autoencoder: An `Autoencoder` or `ImportedAutoencoder`.
      batch_size: Images per call.
      precision: Of the encoder; latents and tokens are computed as ever.

    Raises:
      RequestError: See `check_runtime`.
    """
    check_runtime(name, precision, autoencoder.spec.network.kind)
    if name == "onnxruntime":
        from fsq.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(autoencoder, batch_size)
    if name == "openvino":
        from fsq.runtimes.openvino_convert import convert_encoder

        return run_openvino(convert_encoder(autoencoder, batch_size), precision)
    from fsq.runtimes import multi_device
    from fsq.runtimes.tensorflow_graph import TensorFlowGraph

    if devices := multi_device.gpus():
        return multi_device.OnDevices(autoencoder, batch_size, devices, compiled=name == "xla")
    return TensorFlowGraph(autoencoder, batch_size, compiled=name == "xla")


def run_openvino(model: OpenVinoModel, precision: Precision = "float32") -> Runtime:
    """Runs an encoder that OpenVINO has, a stream per core."""
    from fsq.runtimes.openvino_streams import OpenVinoStreams

    streams = len(os.sched_getaffinity(0))
    return OpenVinoStreams(model, streams=streams, precision=precision)
