"""Console: runs a command with one-line errors and exit codes, hides output of libraries."""

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator

import click

from fsq.errors import DataError, FsqError, InvalidConfigError, RequestError
from fsq.installation import explain_missing
from fsq.storage.path_expansion import expand_argument
from fsq.terminal.streams import error_of_stdout, open_standard_streams

# A write to an open file raises these without the file's name.
FULL = (errno.ENOSPC, errno.EDQUOT)


def run_command(command: click.Command, name: str) -> None:
    """Runs a command, printing an error as one line that begins with the command's name.

    Exit 0: good; 1: the data is bad, or a result that is text could not be written to
    stdout; 2: the request is bad; 130: interrupted.
    """
    open_standard_streams()
    if code := _run(command, name) or _check_output(name):
        sys.exit(code)


def _run(command: click.Command, name: str) -> int:
    try:
        command(standalone_mode=False)
    except InvalidConfigError as error:
        for problem in error.problems:
            click.echo(f"{name}: {one_line(problem)}", err=True)
        return error.exit_code
    except FsqError as error:
        click.echo(f"{name}: {one_line(str(error))}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return RequestError.exit_code
    except click.ClickException as error:
        click.echo(f"{name}: {one_line(_explain(error, command, name))}", err=True)
        return RequestError.exit_code
    except ModuleNotFoundError as error:
        if (message := explain_missing(error)) is None:
            raise
        click.echo(f"{name}: {message}", err=True)
        return RequestError.exit_code
    except OSError as error:
        # A full or missing disk; an OSError with a path is not a bug of ours either.
        if error.filename is None and error.errno not in FULL:
            raise
        click.echo(f"{name}: {error.filename or 'a disk'}: {error.strerror}.", err=True)
        return DataError.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # click raises Abort from the KeyboardInterrupt, which may say what is saved.
        saved = str(error.__cause__ or error)
        click.echo(
            f"{name}: interrupted; {saved + '; ' if saved else ''}run the same command again to "
            "go on.",
            err=True,
        )
        return 130
    return 0


def _check_output(name: str) -> int:
    """Returns the exit code for text that stdout did not take."""
    if (error := error_of_stdout()) is None:
        return 0
    if error.errno != errno.EPIPE:  # a reader like `head` has all that it wanted
        reason = error.strerror
        click.echo(f"{name}: standard output: expected to be written, got: {reason}.", err=True)
    return DataError.exit_code


def _explain(error: click.ClickException, command: click.Command, name: str) -> str:
    if isinstance(error, click.NoSuchOption):
        option = error.option_name
        if any(option in parameter.opts for parameter in command.params):
            return f"{option}: expected before the verb, as in '{name} {option}'."
    return error.format_message()


# Not generic before click 8.4.
class PathParameter(click.ParamType):  # type: ignore[type-arg]
    """A path on the command line: ~ and variables are expanded where the shell did not."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the expanded path."""
        try:
            return expand_argument(value)
        except ValueError as error:
            name = param.human_readable_name if param else self.name
            raise RequestError(f"{name}: {error}") from error


PATH = PathParameter()


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
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no folder for it: they are shown
        yield
        return
    sys.stderr.flush()
    with file as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except FsqError:
            raise
        except BaseException:
            held.seek(0)
            with contextlib.suppress(OSError):
                os.write(real, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
