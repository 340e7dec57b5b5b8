"""Configs of small jobs, and what two runs of a job are compared by."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.job.config import TokenizeConfig

MakeConfig = Callable[..., TokenizeConfig]

# Times are measured anew in each run, and the others name their directory.
DIFFERENT = ("timing.json", "config.yaml", "manifest.json")


def files_of(directory: Path | str) -> dict[str, bytes]:
    """Reads every file of a dataset, hidden ones too, but those that differ between directories."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(Path(directory).rglob("*"))
        if path.name not in DIFFERENT
    }


def job_fields(
    source: Path | Mapping[str, Any], tokenizer: Path, directory: Path, **changes: Any
) -> dict[str, Any]:
    """Returns the config of a job with batches of 8 and 3 shards, as YAML has it.

    Args:
      source: A folder of images, or the config of another source.
      tokenizer: Its directory.
      directory: The output directory.
      changes: Further fields, or other values; those of `output` are added to the usual ones.
    """
    if isinstance(source, Path):
        source = {"kind": "image_folder", "directory": str(source)}
    output = {"directory": str(directory), "name": "pets", "num_shards": 3}
    output |= changes.pop("output", {})
    fields = {"source": source, "tokenizer": str(tokenizer), "output": output, "batch_size": 8}
    return fields | changes


def job_config(*arguments: Any, **changes: Any) -> TokenizeConfig:
    """Returns the config that `job_fields` describes."""
    return TokenizeConfig.model_validate(job_fields(*arguments, **changes))
