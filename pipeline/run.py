"""The whole pipeline on one page."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from fsq.dataset.manifest import read_manifest
from fsq.storage import filesystem
from fsq.storage.directory_lock import LOCK_FILE, locked
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.changed_input import refuse_changed_content
from pipeline.planning.output_directory import (
    begin,
    clear_output,
    continued,
    count_done,
    is_finished,
    refuse_strangers,
)
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.retry_rejects import begin_retry, plan_retry
from pipeline.planning.runtime_request import show_runtime
from pipeline.planning.runtime_selection import recall_runtime, settle_by_cache, settle_runtime
from pipeline.runners.beam_options import engine_options
from pipeline.runners.beam_pipeline import run_units
from pipeline.stages.encode_units import share_encoder

__all__ = ["Summary", "retry_rejects", "tokenize"]

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
        """Images that are in the dataset."""
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
            filesystem.remove_temporary(job.output)
            filesystem.remove(job.work)
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
    left = filesystem.exists(filesystem.join(job.output, LOCK_FILE)) or filesystem.exists(job.work)
    return left or filesystem.has_temporary(job.output)


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
