"""The job in Ray Data, as in its guide to batch inference: `map_batches` with a class as actor.

The encoder is a plain `tf.function`, or the runtime of `fsq tokenize`.
"""

from typing import Any

import numpy as np
import ray
from PIL import Image

from benchmarks.peers.job import CORES, PeerJob, run_peer
from benchmarks.peers.pixels import fit_pixels, load_pixels
from benchmarks.workloads import Workload


class Encode:
    """Images to tokens, as bytes of uint16; the model is loaded once per actor."""

    def __init__(self, workload: Workload, runtime: str):
        from benchmarks.peers.model import token_function

        self.tokens = token_function(workload, runtime)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Encodes a batch of pixels to rows of uint16 bytes."""
        tokens = self.tokens(np.stack(list(batch["image"])))
        data = [row.astype("<u2").tobytes() for row in tokens]
        return {"key": batch["key"], "tokens": data}


def run(job: PeerJob) -> None:
    """Decodes and encodes the job's images in a Ray Data pipeline."""
    spec = job.workload.contract.image
    size, channels = spec.height, spec.channels

    def decode(row: dict[str, Any]) -> dict[str, Any]:
        return {"key": row["key"], "image": load_pixels(row["image"], size, channels)}

    def fit(row: dict[str, Any]) -> dict[str, Any]:
        return {"key": row["path"], "image": fit_pixels(Image.fromarray(row["image"]), size)}

    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if job.dataset.parquet:
        images = ray.data.read_parquet(f"{job.dataset.directory}/parquet").map(decode)
    else:
        images = ray.data.read_images(str(job.dataset.images), mode="RGB", include_paths=True)
        images = images.map(fit)
    tokens = images.map_batches(
        Encode,
        fn_constructor_args=(job.workload, job.runtime),
        batch_size=job.workload.batch_size,
        # Ray reserves half a core for each, and has the other half to read and decode.
        concurrency=CORES,
        num_cpus=0.5,
    )
    tokens.write_parquet(str(job.output))
    ray.shutdown()


if __name__ == "__main__":
    run_peer(run, runtimes=("graph", "openvino"))
