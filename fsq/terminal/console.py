"""Console: runs a command with one-line errors and exit codes, hides output of libraries."""

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator

import click

from fsq.errors import DataError, FsqError, InvalidConfigError, RequestError

# A write to an open file raises these without the file's name.
FULL = (errno.ENOSPC, errno.EDQUOT)


def run_command(command: click.Command, name: str) -> None:
    """Runs a command, printing an error as one line that begins with the command's name.

    Exit 0: good; 1: the data is bad; 2: the request is bad; 130: interrupted.
    """
    try:
        command(standalone_mode=False)
    except InvalidConfigError as error:
        for problem in error.problems:
            click.echo(f"{name}: {one_line(problem)}", err=True)
        sys.exit(error.exit_code)
    except FsqError as error:
        click.echo(f"{name}: {one_line(str(error))}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(RequestError.exit_code)
    except click.ClickException as error:
        click.echo(f"{name}: {one_line(_explain(error, command, name))}", err=True)
        sys.exit(RequestError.exit_code)
    except OSError as error:
        # A full or missing disk; an OSError with a path is not a bug of ours either.
        if error.filename is None and error.errno not in FULL:
            raise
        click.echo(f"{name}: {error.filename or 'a disk'}: {error.strerror}.", err=True)
        sys.exit(DataError.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted; run the same command again to go on.", err=True)
        sys.exit(130)


def _explain(error: click.ClickException, command: click.Command, name: str) -> str:
    if isinstance(error, click.NoSuchOption):
        option = error.option_name
        if any(option in parameter.opts for parameter in command.params):
            return f"{option}: expected before the verb, as in '{name} {option}'."
    return error.format_message()


def print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def one_line(message: str) -> str:
    """Escapes line breaks, which keys and file names may contain."""
    return message.replace("\r", "\\r").replace("\n", "\\n")


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hides what native libraries write to stderr while they are loaded.

    TensorFlow logs lines at its start that no setting turns off. They are printed
    after all if the start fails.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except FsqError:
            raise
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
