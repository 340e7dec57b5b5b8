"""How the commands of this example begin and end: quietly, with one line for a mistake."""

import os

import click

from fsq.terminal.console import run_command


def run(command: click.Command) -> None:
    """Runs a command; see `run_command`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run_command(command, f"prior {command.name}")
