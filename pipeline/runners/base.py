"""Runner interface: default options, refused options and supervision of a Beam runner.

`--runner` chooses a runner, and Beam itself loads it.
"""

import abc
from contextlib import AbstractContextManager

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.job import Job


class Runner(abc.ABC):
    """What this pipeline knows about one of Beam's runners."""

    @property
    @abc.abstractmethod
    def default_options(self) -> list[str]:
        """Options of a command that names no runner, if this one is the default."""

    @abc.abstractmethod
    def check(self, options: PipelineOptions) -> None:
        """Refuses options that do not work on this runner.

        Raises:
          RequestError: One of the options does not work.
        """

    @abc.abstractmethod
    def supervise(self, job: Job) -> AbstractContextManager[None]:
        """Returns the context in which a job runs: failure reports and interrupts, if supported."""
