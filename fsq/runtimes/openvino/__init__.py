"""OpenVINO runtime: the encoder on the CPU, with a stream for each core."""

from typing import TYPE_CHECKING, Any

from fsq.cores import count_cores
from fsq.runtimes.base import (
    TENSORFLOW_NETWORKS,
    Package,
    Precision,
    Runtime,
    RuntimeKind,
    Serialization,
)

if TYPE_CHECKING:
    from fsq.runtimes.openvino.model import OpenVinoModel
    from fsq.runtimes.openvino.streams import OpenVinoStreams


def _make(autoencoder: Any, batch_size: int, precision: Precision) -> Runtime:
    from fsq.runtimes.openvino.convert import convert_encoder

    return _run(convert_encoder(autoencoder, batch_size), precision)


def _to_bytes(runtime: "OpenVinoStreams") -> bytes:
    return runtime.model.to_bytes()


def _from_bytes(data: bytes, precision: Precision) -> Runtime:
    from fsq.runtimes.openvino.model import OpenVinoModel

    try:
        return _run(OpenVinoModel.from_bytes(data), precision)
    except RuntimeError as error:  # raised by OpenVINO for a graph that it cannot read
        raise ValueError(f"expected a graph that OpenVINO runs, got: {error}") from error


def _run(model: "OpenVinoModel", precision: Precision) -> Runtime:
    from fsq.runtimes.openvino.streams import OpenVinoStreams

    streams = count_cores()
    return OpenVinoStreams(model, streams=streams, precision=precision)


KIND = RuntimeKind(
    make=_make,
    networks=TENSORFLOW_NETWORKS,
    package=Package("openvino", extra="openvino"),
    precisions=("float32", "bfloat16"),
    auto_rank=0,
    serialization=Serialization(_to_bytes, _from_bytes),
)
