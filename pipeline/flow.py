"""The whole pipeline on one page."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from fsq.errors import DataError
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.close import close_dataset, settle_units
from pipeline.config import TokenizeConfig
from pipeline.difference import refuse_changed_content
from pipeline.encode import TokenizeUnits, share_encoder
from pipeline.engine import engine_options
from pipeline.failure import is_interrupt, message_in, read_failure
from pipeline.job import Job
from pipeline.lock import LOCK_FILE, locked
from pipeline.manifest import read_manifest
from pipeline.output import (
    begin,
    clear_output,
    continued,
    count_done,
    is_finished,
    refuse_strangers,
)
from pipeline.plan import Plan, make_plan
from pipeline.records import Unit
from pipeline.retry import begin_retry, plan_retry
from pipeline.runtime import show_runtime
from pipeline.settle import recall_runtime, settle_by_cache, settle_runtime
from pipeline.shards import WriteShards
from pipeline.stop import stop
from pipeline.workers import quiet_workers, watched_workers

Observe = Callable[[Job], AbstractContextManager[None]]


def unobserved(job: Job) -> AbstractContextManager[None]:
    """Lets a job run without showing anything."""
    return contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a job came to.

    Attributes:
      directory: The finished dataset.
      images_listed: Images of the source.
      images_rejected: Those among them that were refused.
      rejects_by_reason: How many, by reason.
      rejects_by_file: Rejected and listed images of every source file with
        rejects in it.
      records: Token records written, one per image and view.
      num_shards: Files they lie in.
      units_resumed: Units that an earlier run had done; all of them if the
        dataset was finished before.
      num_units: Units in all.
      runtime: How the encoder was run, in words; None if by the reference.
      images_retried: Rejects of an earlier run that were tried again.
    """

    directory: str
    images_listed: int
    images_rejected: int
    rejects_by_reason: dict[str, int]
    rejects_by_file: dict[str, tuple[int, int]]
    records: int
    num_shards: int
    units_resumed: int
    num_units: int
    runtime: str | None = None
    images_retried: int = 0

    @property
    def images_written(self) -> int:
        return self.images_listed - self.images_rejected


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


def run(
    plan: Plan,
    *,
    overwrite: bool = False,
    beam_options: Sequence[str] = (),
    observe: Observe = unobserved,
) -> Summary:
    """Runs a plan; see `tokenize`. The units are done inside of `observe(job)`."""
    options = engine_options(beam_options)
    if not overwrite:
        plan = recall_runtime(plan)
    job = plan.job
    # Whose directory it is comes first: in a stranger's not even a lock is made.
    if overwrite:
        refuse_strangers(job.output)
    elif is_finished(plan) and not has_leftovers(job):
        return summarize(job, resumed=job.num_units)
    with locked(job.output):
        # Once more, now that nobody else can change it.
        if not overwrite:
            plan = recall_runtime(plan)
            job = plan.job
        finished = not overwrite and is_finished(plan)
        if not (finished or overwrite):
            plan = continued(plan)
            job = plan.job
        resumed = job.num_units if finished else 0 if overwrite else count_done(plan)
        # Before anything is removed or written: a tokenizer that does not fit must cost nothing.
        if resumed < job.num_units:
            plan = load_encoder(plan)
            job = plan.job
        if overwrite:
            clear_output(job.output)
        if finished:
            storage.remove_temporary(job.output)
            storage.remove(job.work)
        else:
            refuse_changed_content(plan)
            units = begin(plan)
            with observe(job):
                run_units(job, units, options)
    return summarize(job, resumed=resumed)


def retry_rejects(
    directory: str,
    config: TokenizeConfig | None = None,
    *,
    beam_options: Sequence[str] = (),
    observe: Observe = unobserved,
) -> Summary:
    """Tries the rejects of a run again, and what it had not begun; the rest is kept.

    Args:
      directory: The output of a run, finished or not.
      config: Its config; without one, that which lies in the directory.
      beam_options: See `tokenize`.
      observe: See `run`.

    Raises:
      RequestError: There is no such run, or its input changed beyond its rejects.
      DataError: See `tokenize`.
    """
    engine_options(beam_options)  # a mistake in them comes first
    with locked(directory):
        retry = plan_retry(directory, config)
        # Without rejects, an attempt was stopped before it came to what has been mended since.
        if retry.rejects or (retry.changed and not retry.finished):
            load_encoder(retry.plan)
            begin_retry(retry)
    # From here on it is an unfinished job like any other.
    plan = dataclasses.replace(
        make_plan(retry.config, limit=retry.limit), config_text=retry.plan.config_text
    )
    summary = run(plan, beam_options=beam_options, observe=observe)
    return dataclasses.replace(summary, images_retried=len(retry.rejects))


def load_encoder(plan: Plan) -> Plan:
    """Loads the encoder for this process, and settles how it is run.

    Returns:
      The plan, with its runtime.

    Raises:
      RequestError: Contract and weights do not fit together, or it cannot be run so.
    """
    if (kept := settle_by_cache(plan)) is not None:
        plan, encoder = kept
    else:
        tokenizer = Tokenizer.from_bytes(
            plan.contract_data,
            plan.weights_data,
            where=plan.tokenizer,
            batch_size=plan.job.batch_size,
        )
        plan = settle_runtime(plan, tokenizer)
        encoder = tokenizer.encoder
    share_encoder(plan.job, encoder)
    return plan


def has_leftovers(job: Job) -> bool:
    """Says whether the run that finished a dataset was stopped at its very end."""
    left = storage.exists(storage.join(job.output, LOCK_FILE)) or storage.exists(job.work)
    return left or storage.has_temporary(job.output)


def run_units(job: Job, units: list[Unit], options: PipelineOptions) -> None:
    """Runs the graph, and raises what went wrong in it.

    Raises:
      DataError: The data is bad, or the output cannot be written.
    """
    quiet_workers()
    # What a worker has left to do when another one dies need not be done first.
    with watched_workers(lambda reason: stop(job, f"{job.output}: {reason}")) as deaths:
        try:
            with beam.Pipeline(options=options) as pipeline:
                build(pipeline, job, units)
        except Exception as error:
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            # A worker's error comes as text, in another wrapping from every engine.
            message = read_failure(job) or message_in(error)
            if deaths:
                message = (
                    f"{job.output}: expected all workers to live, lost one: {deaths[0]}. If it "
                    "was not you who stopped it, memory ran out: take fewer workers. "
                    "Run the same command again to go on."
                )
            if message is None:
                raise
            raise DataError(message) from error
    if (message := read_failure(job)) is not None:
        raise DataError(message)


def summarize(job: Job, *, resumed: int) -> Summary:
    """Reads what a finished job says of itself."""
    manifest = read_manifest(job.output)
    runtime = manifest["fingerprint"]["fields"]["runtime"]
    return Summary(
        directory=job.output,
        images_listed=manifest["images_listed"],
        images_rejected=manifest["images_rejected"],
        rejects_by_reason=manifest["rejects_by_reason"],
        rejects_by_file={
            name: (sum(entry["rejected"].values()), entry["listed"])
            for name, entry in manifest["by_file"].items()
            if entry["rejected"]
        },
        records=manifest["records"],
        num_shards=len(manifest["shards"]),
        units_resumed=resumed,
        num_units=job.num_units,
        runtime=show_runtime(runtime) if "probe" in runtime else None,
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
