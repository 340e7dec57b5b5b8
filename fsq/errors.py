"""Errors caused by requests, data or the environment, as opposed to bugs.

Each message is one line: where, what was expected, what was found, what to do.
The command line prints it and exits with `exit_code`.
"""

__all__ = ["BadImageError", "DataError", "FsqError", "RequestError"]


class FsqError(Exception):
    """Base of all errors that are reported as one line."""

    exit_code = 1


class RequestError(FsqError):
    """The request is bad: a config, a path or an option. Nothing was started."""

    exit_code = 2


class DataError(FsqError):
    """The data or the result is bad: a damaged file, a count that does not balance."""


class BadImageError(DataError):
    """The bytes of a record are not an image that can be decoded by the rules."""
