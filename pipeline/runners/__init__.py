"""Runners: the Beam graph that executes the stages, and a file for each known runner.

To add a runner, write a `Runner` in a file of its own and add its Beam class to `RUNNERS`.
"""

from pipeline.runners.base import Runner
from pipeline.runners.local import LocalRunner
from pipeline.runners.other import OtherRunner

DEFAULT_RUNNER = "FnApiRunner"

RUNNERS: dict[str, Runner] = {
    DEFAULT_RUNNER: LocalRunner(),
}


def runner_named(name: str) -> Runner:
    """Returns the `Runner` for the name of a Beam class."""
    return RUNNERS.get(name) or OtherRunner()
