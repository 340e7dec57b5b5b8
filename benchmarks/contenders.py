"""The contenders of the throughput benchmark: `fsq tokenize`, and its peers."""

import dataclasses
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.datasets import Dataset
from benchmarks.measured import Cost, run_measured
from benchmarks.workloads import CACHE, ROOT, Workload

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # No usage reports over the network.
    "RAY_USAGE_STATS_ENABLED": "0",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Attributes:
      name: The key in the results.
      title: The name in the tables.
      module: The module of `benchmarks.peers`; None for `fsq tokenize`.
      runtime: The runtime of the encoder, where there is a choice.
      needs: Modules that are not among our own dependencies.
      slow: Whether the limit on the images of slow peers applies.
      cached: Whether it finds the encoder that an earlier run of `fsq tokenize` cached.
    """

    name: str
    title: str
    module: str | None = None
    runtime: str | None = None
    needs: tuple[str, ...] = ()
    slow: bool = False
    cached: bool = False

    def missing(self) -> str | None:
        """Names the modules that are not installed; None if nothing is missing."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None


CONTENDERS = (
    Contender("ours", "fsq tokenize", cached=True),
    Contender("ours_first", "fsq tokenize, first run on a machine"),
    Contender(
        "beam_documented",
        "Beam RunInference, TFModelHandlerNumpy as documented",
        module="beam_documented",
        # tensorflow_hub imports pkg_resources.
        needs=("tensorflow_hub", "pkg_resources"),
        slow=True,
    ),
    Contender(
        "beam_tuned",
        "Beam RunInference, own handler, tf.function on fixed batches",
        module="beam_tuned",
    ),
    Contender(
        "handwritten", "script: tf.data, model.predict, TFRecordWriter", module="handwritten"
    ),
    Contender(
        "torch", "PyTorch DataLoader, one .npy per image", module="torch_loop", needs=("torch",)
    ),
    Contender("daft", "Daft, tf.function", "daft_batches", "graph", ("daft", "pyarrow")),
    Contender(
        "daft_openvino",
        "Daft, our runtime",
        "daft_batches",
        "openvino",
        ("daft", "pyarrow", "openvino"),
    ),
    Contender("ray", "Ray Data, tf.function", "ray_batches", "graph", ("ray", "pyarrow")),
    Contender(
        "ray_openvino",
        "Ray Data, our runtime",
        "ray_batches",
        "openvino",
        ("ray", "pyarrow", "openvino"),
    ),
)


def run_contender(
    contender: Contender,
    workload: Workload,
    dataset: Dataset,
    count: int,
    output: Path,
    *,
    timeout_seconds: float,
) -> Cost:
    """Runs one contender in a process of its own, over the first `count` images.

    Args:
      contender: The contender.
      workload: The workload, for its tokenizer.
      dataset: The images, `count` of them.
      count: Number of images.
      output: The folder for the tokens; made by the contender.
      timeout_seconds: The process is killed after this time.

    Raises:
      FailedError: The contender failed.
    """
    if contender.module is None:
        config = output.with_suffix(".yaml")
        config.write_text(yaml.safe_dump(our_config(workload, dataset, output)))
        arguments = ["-m", "pipeline.cli", "tokenize", str(config)]
    else:
        arguments = ["-m", f"benchmarks.peers.{contender.module}", workload.name]
        arguments += ["--images", str(count), "--output", str(output)]
        arguments += ["--runtime", contender.runtime] if contender.runtime else []
    # A folder of its own for temporary files, removed afterwards.
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        return run_measured(
            [sys.executable, *arguments],
            cwd=ROOT,
            environment={
                **ENVIRONMENT,
                "FSQ_CACHE": str(CACHE / "kept") if contender.cached else "off",
                "TMPDIR": scratch,
                "RAY_TMPDIR": scratch,
            },
            log=output.with_suffix(".log"),
            timeout_seconds=timeout_seconds,
        )


def run_limit(workload: Workload, count: int, seconds: float, folder: Path) -> dict:
    """Measures the limit in a process of its own; see `benchmarks.limit`.

    Raises:
      FailedError: The measurement failed.
    """
    command = [sys.executable, "-m", "benchmarks.limit", workload.name]
    command += ["--images", str(count), "--seconds", str(seconds)]
    cost = run_measured(
        command, cwd=ROOT, environment=ENVIRONMENT, log=folder / "limit.log", timeout_seconds=3600
    )
    return json.loads(cost.output.splitlines()[-1])


def our_config(workload: Workload, dataset: Dataset, output: Path) -> dict:
    """Returns the config for `fsq tokenize`; all other options have their defaults."""
    source = {"kind": "image_folder", "directory": str(dataset.images), "labels": False}
    if dataset.tfrecords:
        files = f"{dataset.directory}/tfrecord/*"
        source = {"kind": "tfrecord", "files": files, "image": "image", "key": "key"}
    return {
        "source": source,
        "tokenizer": str(workload.tokenizer),
        "output": {"directory": str(output), "name": "tokens"},
        "batch_size": workload.batch_size,
    }
