"""The plug point of reports: a function of a finished dataset, and a verb of the command line."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fsq.dataset.manifest import read_manifest
from pipeline.cli import cli
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize


def largest_shard(directory: str) -> tuple[str, int]:
    """Names the shard with the most records."""
    shard = max(read_manifest(directory).shards, key=lambda shard: shard.records)
    return shard.file, shard.records


def test_a_new_report_is_a_function_and_a_verb(
    image_folder: Path, tokenizer_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli, "commands", dict(cli.commands))

    @cli.command(short_help="Name the largest shard.")
    @click.argument("directory", metavar="DIR")
    def largest(directory: str) -> None:
        """Name the largest shard of the dataset in DIR."""
        name, records = largest_shard(directory)
        click.echo(f"{name}: {records:,} records")

    config = {
        "source": {"kind": "image_folder", "directory": str(image_folder)},
        "tokenizer": str(tokenizer_directory),
        "output": {"directory": str(tmp_path / "out"), "name": "pets", "num_shards": 1},
        "batch_size": 8,
    }
    tokenize(TokenizeConfig.model_validate(config))
    done = CliRunner().invoke(cli, ["largest", str(tmp_path / "out")])
    assert done.output == "pets-train.tfrecord-00000-of-00001: 100 records\n"
    assert "Name the largest shard." in CliRunner().invoke(cli, ["--help"]).output
