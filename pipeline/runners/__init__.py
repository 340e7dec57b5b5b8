"""What executes the stages: the Beam graph, and a file for each runner that is known here.

To add a runner, write a `Runner` in a file of its own and name its Beam class in `RUNNERS`.
"""

from pipeline.runners.base import Runner
from pipeline.runners.local import LocalRunner
from pipeline.runners.other import OtherRunner

DEFAULT_RUNNER = "FnApiRunner"

RUNNERS: dict[str, Runner] = {
    DEFAULT_RUNNER: LocalRunner(),
}


def runner_named(name: str) -> Runner:
    """Returns what is known of a runner, by the name of its Beam class."""
    return RUNNERS.get(name) or OtherRunner()
