"""Every other runner that Beam knows: its options are passed on; none of them was tried."""

import contextlib
from contextlib import AbstractContextManager

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.job import Job
from pipeline.runners.base import Runner
from pipeline.runners.local import refuse_worker_processes


class OtherRunner(Runner):
    """Its workers may be on any machine, so all they say comes by way of the work folder."""

    @property
    def default_options(self) -> list[str]:
        """None."""
        return []

    def check(self, options: PipelineOptions) -> None:
        """See `refuse_worker_processes`: DirectRunner may hand on to the local one."""
        refuse_worker_processes(options)

    def supervise(self, job: Job) -> AbstractContextManager[None]:
        """Does nothing."""
        return contextlib.nullcontext()
