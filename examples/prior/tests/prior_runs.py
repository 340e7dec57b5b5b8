"""A dataset of tokens and the smallest run of a prior, for the tests of examples/prior."""

import json
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from examples.prior.config import PriorConfig
from fsq.storage.json_documents import with_digest

TRAINING = {
    "steps": 24,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "warmup_steps": 4,
    "checkpoint_steps": 6,
    "validation_steps": 8,
    "validation_images": 40,
}


def tiny_run(dataset: Path, output: Path, **changes: Any) -> PriorConfig:
    """Returns a run of some seconds; `changes` of `training` are merged into it."""
    training = {**TRAINING, **changes.pop("training", {})}
    return PriorConfig.model_validate(
        {
            "dataset": str(dataset),
            "held_out": 0.2,
            "modes": ["causal", "masked"],
            "network": {"width": 16, "depth": 1, "heads": 2, "dropout": 0.2},
            "training": training,
            "samples": {"per_class": 2, "steps": 3},
            "output": str(output),
            **changes,
        }
    )


def carry_config(root: Path, directory: Path) -> dict[str, Any]:
    """Returns a tokenization of the sample images with their labels."""
    return {
        "source": {
            "kind": "tfds",
            "directory": str(root / "samples" / "fashion_mnist"),
            "split": "test",
            "carry": ["label"],
        },
        "tokenizer": str(root / "tokenizers" / "fashion_mnist"),
        "output": {"directory": str(directory), "name": "demo", "split": "test", "num_shards": 2},
        "batch_size": 64,
    }


def copy_records(source: Path, target: Path, numbers: range) -> None:
    """Copies some records of a prepared dataset of one shard to another one."""
    shutil.copytree(source, target)
    (shard,) = target.glob("*.tfrecord-*")
    records = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for number in numbers:
            writer.write(records[number])
    info = json.loads((target / "dataset_info.json").read_text())
    info["splits"][0] |= {"shardLengths": [str(len(numbers))]}
    (target / "dataset_info.json").write_text(json.dumps(info))


def edit_description(directory: Path, **config: Any) -> None:
    """Changes the config in a prior.json as if the run had been one of that."""
    path = directory / "prior.json"
    content = json.loads(path.read_text())
    content["config"] |= config
    path.write_text(json.dumps(with_digest(content)))
