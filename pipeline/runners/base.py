"""The runner interface: what this pipeline has to know of one of Beam's runners.

A runner is named by `--runner`; Beam itself finds it. A member of `Runner` says
what to tell it, what it is refused for, and what surrounds a run on it.
"""

import abc
from contextlib import AbstractContextManager

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.job import Job


class Runner(abc.ABC):
    """One of Beam's runners."""

    @property
    @abc.abstractmethod
    def default_options(self) -> list[str]:
        """Options to begin with where a command names no runner and this one is taken."""

    @abc.abstractmethod
    def check(self, options: PipelineOptions) -> None:
        """Refuses options that ask for what it cannot do.

        Raises:
          RequestError: They do.
        """

    @abc.abstractmethod
    def supervise(self, job: Job) -> AbstractContextManager[None]:
        """Surrounds a run: connects this process with the job's workers as far as that goes."""
