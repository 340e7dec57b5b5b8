"""Who takes part: ours, and the others with what each of them needs."""

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
    # None of them is to report its use over the network.
    "RAY_USAGE_STATS_ENABLED": "0",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Attributes:
      name: In the table.
      title: In words.
      module: Of `benchmarks.peers`; None for `fsq tokenize`.
      runtime: What the encoder is run by, where there is a choice.
      needs: Modules beyond ours.
      slow: Whether the bound on slow peers holds for it.
      kept: Whether it finds what an earlier run of `fsq tokenize` kept on this machine.
    """

    name: str
    title: str
    module: str | None = None
    runtime: str | None = None
    needs: tuple[str, ...] = ()
    slow: bool = False
    kept: bool = False

    def missing(self) -> str | None:
        """Says which module is not installed; None if nothing is missing."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None


CONTENDERS = (
    Contender("ours", "fsq tokenize", kept=True),
    Contender("ours_first", "fsq tokenize, for the first time on a machine"),
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
        "Daft, our runtime inside",
        "daft_batches",
        "openvino",
        ("daft", "pyarrow", "openvino"),
    ),
    Contender("ray", "Ray Data, tf.function", "ray_batches", "graph", ("ray", "pyarrow")),
    Contender(
        "ray_openvino",
        "Ray Data, our runtime inside",
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
      contender: Who.
      workload: Whose tokenizer.
      dataset: The images, `count` of them.
      count: How many.
      output: The folder for the tokens; made by the contender.
      timeout_seconds: It is ended after so long.

    Raises:
      FailedError: It failed.
    """
    if contender.module is None:
        config = output.with_suffix(".yaml")
        config.write_text(yaml.safe_dump(our_config(workload, dataset, output)))
        arguments = ["-m", "pipeline.cli", "tokenize", str(config)]
    else:
        arguments = ["-m", f"benchmarks.peers.{contender.module}", workload.name]
        arguments += ["--images", str(count), "--output", str(output)]
        arguments += ["--runtime", contender.runtime] if contender.runtime else []
    # Nobody's temporary files meet another's, nor stay.
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        return run_measured(
            [sys.executable, *arguments],
            cwd=ROOT,
            environment={
                **ENVIRONMENT,
                "FSQ_CACHE": str(CACHE / "kept") if contender.kept else "off",
                "TMPDIR": scratch,
                "RAY_TMPDIR": scratch,
            },
            log=output.with_suffix(".log"),
            timeout_seconds=timeout_seconds,
        )


def run_limit(workload: Workload, count: int, seconds: float, folder: Path) -> dict:
    """Measures the limit in a process of its own; see `benchmarks.limit`.

    Raises:
      FailedError: It failed.
    """
    command = [sys.executable, "-m", "benchmarks.limit", workload.name]
    command += ["--images", str(count), "--seconds", str(seconds)]
    cost = run_measured(
        command, cwd=ROOT, environment=ENVIRONMENT, log=folder / "limit.log", timeout_seconds=3600
    )
    return json.loads(cost.output.splitlines()[-1])


def our_config(workload: Workload, dataset: Dataset, output: Path) -> dict:
    """What `fsq tokenize` is told; everything else is as it comes."""
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
