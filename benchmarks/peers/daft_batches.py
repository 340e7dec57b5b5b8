"""The job in Daft, as in its guide to batch inference: a class as UDF, Daft's image functions.

The encoder is a plain `tf.function`, or the runtime of `fsq tokenize`.
"""

import daft
import numpy as np
from daft import col, functions

from benchmarks.peers.job import CORES, PeerJob, run_peer
from benchmarks.workloads import Workload


@daft.cls(max_concurrency=CORES)
class Encode:
    """Images to tokens, as bytes of uint16; the model is loaded once per instance."""

    def __init__(self, workload: Workload, runtime: str):
        from benchmarks.peers.model import token_function

        self.tokens = token_function(workload, runtime)
        self.shape = workload.contract.image.shape

    @daft.method.batch(return_dtype=daft.DataType.binary())
    def __call__(self, images):
        """Encodes a batch of pixels to rows of uint16 bytes."""
        pixels = np.stack([np.asarray(image).reshape(self.shape) for image in images.to_pylist()])
        return [row.astype("<u2").tobytes() for row in self.tokens(pixels)]


def run(job: PeerJob) -> None:
    """Decodes and encodes the job's images in a Daft query."""
    spec = job.workload.contract.image
    if job.dataset.parquet:
        table = daft.read_parquet(f"{job.dataset.directory}/parquet/*")
    else:
        table = daft.from_glob_path(f"{job.dataset.images}/*")
        table = table.select(col("path").alias("key"), col("path").download().alias("image"))
    mode = "L" if spec.channels == 1 else "RGB"
    table = table.with_column("image", functions.decode_image(col("image"), mode=mode))
    table = table.with_column("image", _fit(col("image"), spec.height))
    table = table.into_batches(job.workload.batch_size)
    encode = Encode(job.workload, job.runtime)
    table = table.select(col("key"), encode(col("image")).alias("tokens"))
    table.write_parquet(str(job.output))


def _fit(image: daft.Expression, size: int) -> daft.Expression:
    """Crops the centre square and resamples it."""
    width, height = functions.image_width(image), functions.image_height(image)
    side = functions.when(width < height, width).otherwise(height)
    box = functions.to_list((width - side) // 2, (height - side) // 2, side, side)
    return functions.resize(functions.crop(image, box), size, size)


if __name__ == "__main__":
    run_peer(run, runtimes=("graph", "openvino"))
