"""How the commands of this example begin and end: quietly, with one line for a mistake."""

import os
import sys

import click

from fsq.errors import DataError, FsqError, RequestError
from pipeline.console import one_line


def run(command: click.Command) -> None:
    """Runs a command. Exit 0: good; 1: the data is bad; 2: the request is bad."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    name = f"prior {command.name}"
    try:
        command(standalone_mode=False)
    except FsqError as error:
        click.echo(f"{name}: {one_line(str(error))}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"{name}: {one_line(error.format_message())}", err=True)
        sys.exit(RequestError.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"{name}: {error.filename}: {error.strerror}.", err=True)
        sys.exit(DataError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted; run the same command again to go on.", err=True)
        sys.exit(130)
