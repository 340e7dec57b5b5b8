"""Beam's RunInference, tuned: a handler that calls a graph on batches of a fixed size."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from benchmarks.peers.beam_graph import run_graph
from benchmarks.peers.job import PeerJob, run_peer
from benchmarks.workloads import Workload


class GraphHandler(ModelHandler[np.ndarray, PredictionResult, Any]):
    """One `tf.function` with a fixed signature; a batch that is not full is padded."""

    def __init__(self, workload: Workload):
        self._workload = workload
        size = workload.batch_size
        super().__init__(min_batch_size=size, max_batch_size=size)

    def load_model(self) -> Callable[[np.ndarray], np.ndarray]:
        """Loads the encoder as one TensorFlow graph."""
        from benchmarks.peers.model import load_autoencoder
        from fsq.runtimes.tensorflow.graph import TensorFlowGraph

        return TensorFlowGraph(load_autoencoder(self._workload), self._workload.batch_size)

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: Callable[[np.ndarray], np.ndarray],
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Encodes a batch, padded to the graph's batch size."""
        images = np.zeros((self._workload.batch_size, *batch[0].shape), np.uint8)
        np.stack(batch, out=images[: len(batch)])
        tokens = model(images)[: len(batch)]
        # Without the images, which the documented handler returns too.
        return [PredictionResult(None, row) for row in tokens]


def run(job: PeerJob) -> None:
    """Runs RunInference with a handler of fixed batch size."""
    run_graph(job, GraphHandler(job.workload))


if __name__ == "__main__":
    run_peer(run)
