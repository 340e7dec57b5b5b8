"""Runs the commands of this example: no start-up notes, one line for an error."""

import os

import click

from fsq.terminal.console import run_command


def run(command: click.Command) -> None:
    """Runs a command; see `fsq.terminal.console.run_command`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run_command(command, f"prior {command.name}")
