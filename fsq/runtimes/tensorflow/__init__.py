"""TensorFlow runtimes: the encoder as a graph, the reference; and the graph compiled by XLA."""

from typing import Any

from fsq.runtimes.base import TENSORFLOW_NETWORKS, Precision, Runtime, RuntimeKind


def _make_graph(autoencoder: Any, batch_size: int, precision: Precision) -> Runtime:
    return _make(autoencoder, batch_size, compiled=False)


def _make_compiled(autoencoder: Any, batch_size: int, precision: Precision) -> Runtime:
    return _make(autoencoder, batch_size, compiled=True)


def _make(autoencoder: Any, batch_size: int, *, compiled: bool) -> Runtime:
    from fsq.runtimes.tensorflow import multi_device
    from fsq.runtimes.tensorflow.graph import TensorFlowGraph

    if devices := multi_device.gpus():
        return multi_device.MultiDeviceGraph(autoencoder, batch_size, devices, compiled=compiled)
    return TensorFlowGraph(autoencoder, batch_size, compiled=compiled)


GRAPH = RuntimeKind(make=_make_graph, networks=TENSORFLOW_NETWORKS, reference=True)
# XLA takes seconds to compile and was never the fastest, so it is tried only if nothing else is.
COMPILED_GRAPH = RuntimeKind(make=_make_compiled, networks=TENSORFLOW_NETWORKS, auto_rank=1)
