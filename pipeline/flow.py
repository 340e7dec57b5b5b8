"""The whole pipeline on one page."""

import dataclasses
import json
from collections.abc import Sequence

import apache_beam as beam

from fsq.errors import DataError
from pipeline import storage
from pipeline.close import FAILURE_FILE, close_dataset, settle_units
from pipeline.config import TokenizeConfig
from pipeline.encode import TokenizeUnits, load_tokenizer
from pipeline.engine import engine_options
from pipeline.job import Job
from pipeline.manifest import read_manifest
from pipeline.plan import Plan, begin, clear_output, count_done, is_finished, make_plan
from pipeline.records import Unit
from pipeline.shards import WriteShards


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a job came to.

    Attributes:
      directory: The finished dataset.
      images_read: Images of the source.
      images_rejected: Those among them that were refused.
      records: Token records written, one per image and view.
      num_shards: Files they lie in.
      units_resumed: Units that an earlier run had done; all of them if the
        dataset was finished before.
      num_units: Units in all.
    """

    directory: str
    images_read: int
    images_rejected: int
    records: int
    num_shards: int
    units_resumed: int
    num_units: int


def tokenize(
    config: TokenizeConfig,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    beam_options: Sequence[str] = (),
) -> Summary:
    """Tokenizes a dataset; goes on where an interrupted run of the same job stopped.

    Args:
      config: The job.
      limit: Take just the first so many images.
      overwrite: Remove another job's output first.
      beam_options: Options for Beam, as on a command line. Without a runner
        among them: the local one, with cores + 1 threads.

    Raises:
      RequestError: The request is bad; nothing was begun.
      DataError: The data is bad. What was done is kept.
    """
    return run(make_plan(config, limit=limit), overwrite=overwrite, beam_options=beam_options)


def run(plan: Plan, *, overwrite: bool = False, beam_options: Sequence[str] = ()) -> Summary:
    """Runs a plan; see `tokenize`."""
    job = plan.job
    options = engine_options(beam_options)
    finished = not overwrite and is_finished(plan)
    resumed = job.num_units if finished else 0 if overwrite else count_done(plan)
    # Before anything is removed or written: a tokenizer that does not fit must cost nothing.
    if resumed < job.num_units:
        load_tokenizer(job, plan.contract_data, plan.weights_data, plan.tokenizer)
    if overwrite:
        clear_output(job.output)
    if not finished:
        units = begin(plan)
        storage.remove(storage.join(job.work, FAILURE_FILE))
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, job, units)
        if storage.exists(storage.join(job.work, FAILURE_FILE)):
            failure = json.loads(storage.read(storage.join(job.work, FAILURE_FILE)))
            raise DataError(failure["message"])
    else:
        storage.remove(job.work)  # left over if the last run was stopped at its very end
    manifest = read_manifest(job.output)
    return Summary(
        directory=job.output,
        images_read=manifest["images_read"],
        images_rejected=manifest["images_rejected"],
        records=manifest["records"],
        num_shards=len(manifest["shards"]),
        units_resumed=resumed,
        num_units=job.num_units,
    )


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
        | "Settle" >> beam.FlatMap(settle_units, job)
        | "SpreadShards" >> beam.Reshuffle()
        | "Write" >> WriteShards(job)
        | "GatherShards" >> Gather()
        # The manifest is written here, last of all.
        | "Close" >> beam.Map(close_dataset, job)
    )


class Gather(beam.PTransform):
    """Elements in, one list of them all out."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return (
            elements
            | "Key" >> beam.Map(lambda element: (0, element))
            | "Group" >> beam.GroupByKey()
            | "Values" >> beam.Map(lambda pair: list(pair[1]))
        )
