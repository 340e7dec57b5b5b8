"""The jobs that Python calls: `tokenize`, and `retry_rejects`.

A job is read downwards: plan, output directory, encoder, work folder, Beam graph,
summary. What is found out on the way is handed on, not asked for again.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from fsq.dataset.manifest import Manifest, read_manifest
from fsq.storage import filesystem
from fsq.storage.directory_lock import locked
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.changed_input import refuse_changed_content
from pipeline.planning.output_directory import clear_output, read_output
from pipeline.planning.plan import Plan
from pipeline.planning.prepare import PreparedJob, match_output, prepare
from pipeline.planning.retry_rejects import begin_retry, plan_retry
from pipeline.planning.runtime_request import show_runtime
from pipeline.planning.runtime_selection import runtime_from_cache, select_runtime
from pipeline.planning.work_folder import set_up_work_folder
from pipeline.runners.beam_options import engine_options
from pipeline.runners.beam_pipeline import run_units
from pipeline.stages.shared_encoder import share_encoder

__all__ = ["Summary", "retry_rejects", "tokenize"]

Progress = Callable[[Job], AbstractContextManager[None]]


def no_progress(job: Job) -> AbstractContextManager[None]:
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
      num_shards: Shards they lie in.
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
        """Images with token records."""
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
    prepared = prepare(config, limit=limit, overwrite=overwrite)
    return run(prepared, beam_options=beam_options)


def run(
    prepared: PreparedJob,
    *,
    beam_options: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Summary:
    """Runs a prepared job; see `tokenize`. The units are done inside of `progress(job)`."""
    options = engine_options(beam_options)
    if prepared.is_finished and not prepared.output.has_leftovers:
        return summarize(prepared, resumed=prepared.count_done())
    with locked(prepared.output.path):
        # Now nobody else can change it; what was seen before the lock mostly still holds.
        if (output := read_output(prepared.output.path)) != prepared.output:
            prepared = match_output(prepared.plan, output, overwrite=prepared.overwrite)
        resumed = prepared.count_done()
        if prepared.is_finished:
            filesystem.remove_temporary(prepared.output.path)
            filesystem.remove(prepared.plan.job.work)
            return summarize(prepared, resumed=resumed)
        plan = prepared.plan
        # Before anything is removed or written: a tokenizer that does not fit must cost nothing.
        if resumed < plan.job.num_units:
            plan = load_encoder(plan)
        output = clear_output(output) if prepared.overwrite else output
        refuse_changed_content(plan)
        units = set_up_work_folder(plan, output)
        with progress(plan.job):
            run_units(plan.job, units, options)
    return summarize(dataclasses.replace(prepared, plan=plan), resumed=resumed)


def retry_rejects(
    directory: str,
    config: TokenizeConfig | None = None,
    *,
    beam_options: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Summary:
    """Tries the rejects of a run again, and what it had not begun; the rest is kept.

    Args:
      directory: The output of a run, finished or not.
      config: Its config; without one, that which lies in the directory.
      beam_options: See `tokenize`.
      progress: See `run`.

    Raises:
      RequestError: There is no such run, or its input changed beyond its rejects.
      DataError: See `tokenize`.
    """
    engine_options(beam_options)  # a mistake in them comes first
    with locked(directory):
        retry = plan_retry(directory, config)
        output = retry.output
        if retry.is_needed:
            load_encoder(retry.plan)
            begin_retry(retry)
            output = read_output(directory)
    # From here on it is an unfinished job like any other.
    summary = run(match_output(retry.plan, output), beam_options=beam_options, progress=progress)
    return dataclasses.replace(summary, images_retried=len(retry.rejects))


def load_encoder(plan: Plan) -> Plan:
    """Loads the encoder for this process, and selects how it is run.

    Returns:
      The plan, with its runtime.

    Raises:
      RequestError: Contract and weights do not fit together, or it cannot be run so.
    """
    if (cached := runtime_from_cache(plan)) is not None:
        plan, encoder = cached
    else:
        tokenizer = Tokenizer.from_bytes(
            plan.tokenizer.contract.to_json().encode(),
            plan.tokenizer.weights,
            where=plan.tokenizer.where,
            batch_size=plan.job.config.batch_size,
        )
        plan = select_runtime(plan, tokenizer)
        encoder = tokenizer.encoder
    share_encoder(plan.job, encoder)
    return plan


def summarize(prepared: PreparedJob, *, resumed: int) -> Summary:
    """Reads what a finished job says of itself."""
    output, job = prepared.output, prepared.plan.job
    manifest: Manifest = (output.manifest if prepared.is_finished else None) or read_manifest(
        output.path
    )
    runtime = manifest.fingerprint.fields.runtime
    return Summary(
        directory=output.path,
        images_listed=manifest.images_listed,
        images_rejected=manifest.images_rejected,
        rejects_by_reason=manifest.rejects_by_reason,
        rejects_by_file={
            name: (sum(entry.rejected.values()), entry.listed)
            for name, entry in manifest.by_file.items()
            if entry.rejected
        },
        records=manifest.records,
        num_shards=len(manifest.shards),
        units_resumed=resumed,
        num_units=job.num_units,
        runtime=None if runtime.probe is None else show_runtime(runtime),
    )
