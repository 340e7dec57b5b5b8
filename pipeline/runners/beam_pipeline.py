"""The Beam graph: one line, one leaf, nothing but descriptors on it."""

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from fsq.errors import DataError
from pipeline.core.records import Unit
from pipeline.job.job import Job
from pipeline.runners.beam_options import runner_of
from pipeline.runners.outside_ipython import outside_ipython
from pipeline.stages.encode_units import tokenize_unit
from pipeline.stages.finalize import check_units, finalize_dataset
from pipeline.stages.merge_shards import write_shard
from pipeline.work.signals import is_interrupt, message_in, read_failure


def run_units(job: Job, units: list[Unit], options: PipelineOptions) -> None:
    """Runs the graph, and raises what went wrong in it.

    Raises:
      DataError: The data is bad, or the output cannot be written.
      KeyboardInterrupt: It was interrupted.
    """
    try:
        with (
            outside_ipython(),
            runner_of(options).supervise(job),
            beam.Pipeline(options=options) as pipeline,
        ):
            build(pipeline, job, units)
    except Exception as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        # A worker's error comes as text, in another wrapping from every runner.
        message = read_failure(job) or message_in(error)
        if message is None:
            raise
        raise DataError(message) from error
    if (message := read_failure(job)) is not None:
        raise DataError(message)


def build(pipeline: beam.Pipeline, job: Job, units: list[Unit]) -> beam.PCollection:
    """Lays the graph: one line, one leaf, and nothing but descriptors on it."""
    return (
        pipeline
        | "Units" >> beam.Create(units)
        # Without it the runner would fuse all units into one bundle, for one worker.
        | "SpreadUnits" >> beam.Reshuffle()
        | "Tokenize" >> TokenizeUnits(job)
        # All units must be done and in balance before the first shard: a shard takes from each.
        | "GatherUnits" >> Gather()
        | "CheckUnits" >> beam.FlatMap(check_units, job)
        | "SpreadShards" >> beam.Reshuffle()
        | "Write" >> WriteShards(job)
        | "GatherShards" >> Gather()
        # The manifest is written here, last of all.
        | "Finalize" >> beam.Map(finalize_dataset, job)
    )


class Gather(beam.PTransform):
    """Elements in, one list of them all out."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Collects all elements under one key."""
        return (
            elements
            | "Key" >> beam.Map(lambda element: (0, element))
            | "Group" >> beam.GroupByKey()
            | "Values" >> beam.Map(lambda pair: list(pair[1]))
        )


class TokenizeUnits(beam.PTransform):
    """Unit in, UnitResult out, one for one. A finished unit is passed on undone.

    A failure inside a unit is a result too: the other units still finish, and
    the shape of the graph stays one line.
    """

    def __init__(self, job: Job):
        self.job = job

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        """Maps `tokenize_unit` over the units."""
        return units | beam.Map(tokenize_unit, self.job)


class WriteShards(beam.PTransform):
    """Shard number in, ShardResult out, one for one."""

    def __init__(self, job: Job):
        self.job = job

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        """Maps `write_shard` over the shards' numbers."""
        return indices | beam.Map(write_shard, self.job)
