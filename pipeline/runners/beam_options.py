"""Beam's options: the local runner unless another is named, and no option that Beam ignores."""

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from fsq.errors import RequestError


def engine_options(options: Sequence[str]) -> PipelineOptions:
    """Turns command-line options into Beam's.

    Without a --runner among them: the local one, with cores + 1 threads. It is
    named, because 'DirectRunner' means "try to download another runner first".

    Raises:
      RequestError: Beam does not know an option or the runner.
    """
    _check(options)
    if not any(option.split("=")[0] == "--runner" for option in options):
        workers = len(os.sched_getaffinity(0)) + 1
        options = [
            "--runner=FnApiRunner",
            "--direct_running_mode=multi_threading",
            f"--direct_num_workers={workers}",
            *options,
        ]
    result = PipelineOptions(list(options))
    try:
        create_runner(result.view_as(StandardOptions).runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise RequestError(f"beam options: {' '.join(str(error).split())[:200]}") from error
    return result


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"beam options: {message}. See Beam's documentation of its options.")


def _check(options: Sequence[str]) -> None:
    """Beam itself warns of an unknown option and goes on without it."""
    parser = _Parser(allow_abbrev=False, add_help=False)
    for group in PipelineOptions.__subclasses__():
        group._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(options))
    if unknown:
        parser.error(f"expected options that Beam knows, got {unknown[0]!r}")
