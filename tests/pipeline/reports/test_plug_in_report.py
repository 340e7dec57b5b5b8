"""The plug point of reports: a function of a finished dataset, and a verb of the command line."""

import click
import pytest
from builders.jobs import MakeConfig
from click.testing import CliRunner

from fsq.dataset.manifest import read_manifest
from pipeline.cli import cli
from pipeline.run import tokenize


def largest_shard(directory: str) -> tuple[str, int]:
    """Names the shard with the most records."""
    shard = max(read_manifest(directory).shards, key=lambda shard: shard.records)
    return shard.file, shard.records


def test_a_new_report_is_a_function_and_a_verb(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli, "commands", dict(cli.commands))

    @cli.command(short_help="Name the largest shard.")
    @click.argument("directory", metavar="DIR")
    def largest(directory: str) -> None:
        """Name the largest shard of the dataset in DIR."""
        name, records = largest_shard(directory)
        click.echo(f"{name}: {records:,} records")

    summary = tokenize(make_config(output={"num_shards": 1}))
    done = CliRunner().invoke(cli, ["largest", summary.directory])
    assert done.output == "pets-train.tfrecord-00000-of-00001: 100 records\n"
    assert "Name the largest shard." in CliRunner().invoke(cli, ["--help"]).output
