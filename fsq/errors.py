"""Errors caused by requests, data or the environment, as opposed to bugs.

Each message is one line: where, what was expected, what was found, what to do.
The command line prints it and exits with `exit_code`.
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["BadImageError", "DataError", "FsqError", "InvalidConfigError", "RequestError"]


class FsqError(Exception):
    """Base of all errors that are reported as one line."""

    exit_code = 1


class RequestError(FsqError):
    """The request is bad: a config, a path or an option. Nothing was started."""

    exit_code = 2


class InvalidConfigError(RequestError):
    """A config with mistakes, each of which is a line of its own.

    Attributes:
      problems: One line for each mistake, at least one.
    """

    def __init__(self, problems: Sequence[str]):
        first, *more = problems
        super().__init__(f"{first} ({len(more)} more after this one)" if more else first)
        self.problems = tuple(problems)
        for problem in more:  # a traceback shows them all
            self.add_note(problem)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class DataError(FsqError):
    """The data or the result is bad: a damaged file, a count that does not balance."""


class BadImageError(DataError):
    """The bytes of a record are not an image that can be decoded by the rules."""
