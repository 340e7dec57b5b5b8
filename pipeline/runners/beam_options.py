"""Beam options: parsed, with the default runner, and checked for options that Beam ignores."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from fsq.errors import RequestError
from pipeline.runners import DEFAULT_RUNNER, RUNNERS, runner_named
from pipeline.runners.base import Runner


def parse_beam_options(options: Sequence[str]) -> PipelineOptions:
    """Parses Beam's command-line options.

    Without --runner, the default runner and its options are set. It is set by name,
    because Beam's own default, DirectRunner, first tries to download another runner.

    Raises:
      RequestError: Beam does not know an option or the runner, or an option does
        not work on the runner.
    """
    _check(options)
    if not any(option.split("=")[0] == "--runner" for option in options):
        default = RUNNERS[DEFAULT_RUNNER]
        options = [f"--runner={DEFAULT_RUNNER}", *default.default_options, *options]
    result = PipelineOptions(list(options))
    runner_of(result).check(result)
    return result


def runner_of(options: PipelineOptions) -> Runner:
    """Returns the runner that Beam chooses by these options.

    Raises:
      RequestError: Beam does not know the runner, or cannot load it.
    """
    try:
        runner = create_runner(options.view_as(StandardOptions).runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise RequestError(f"beam options: {' '.join(str(error).split())[:200]}") from error
    return runner_named(type(runner).__name__)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"beam options: {message}. See Beam's documentation of its options.")


def _check(options: Sequence[str]) -> None:
    """Refuses unknown options, which Beam ignores with a warning."""
    parser = _Parser(allow_abbrev=False, add_help=False)
    for group in PipelineOptions.__subclasses__():
        group._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(options))
    if unknown:
        parser.error(f"expected options that Beam knows, got {unknown[0]!r}")
