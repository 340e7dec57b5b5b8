"""All other runners of Beam: their options are passed on; none of them is tested."""

import contextlib
from contextlib import AbstractContextManager

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.job import Job
from pipeline.runners.base import Runner
from pipeline.runners.local import refuse_worker_processes


class OtherRunner(Runner):
    """A runner whose workers may be on any machine and report through the work folder."""

    @property
    def default_options(self) -> list[str]:
        """None."""
        return []

    def check(self, options: PipelineOptions) -> None:
        """See `refuse_worker_processes`: DirectRunner may delegate to the local runner."""
        refuse_worker_processes(options)

    def supervise(self, job: Job) -> AbstractContextManager[None]:
        """Does nothing."""
        return contextlib.nullcontext()
