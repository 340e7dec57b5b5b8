"""Beam's RunInference with its TensorFlow handler, as documented."""

import tempfile
from pathlib import Path

from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy

from benchmarks.peers.beam_graph import run_graph
from benchmarks.peers.job import PeerJob, run_peer
from benchmarks.peers.model import save_token_model


def run(job: PeerJob) -> None:
    """Runs RunInference with the Keras handler as Beam documents it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save_token_model(job.workload, path)
        run_graph(job, TFModelHandlerNumpy(str(path)))


if __name__ == "__main__":
    run_peer(run)
