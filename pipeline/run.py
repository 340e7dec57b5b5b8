"""Jobs as Python functions: `tokenize` and `retry_rejects`.

The steps of a job are: plan, output directory, encoder, work folder, Beam pipeline,
summary. Each step gets the results of the steps before it.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence

from fsq.dataset.manifest import Manifest, SplitEntry, read_manifest
from fsq.storage import filesystem
from fsq.storage.directory_lock import locked
from fsq.tokenizer import Tokenizer
from fsq.yaml_config import load_config
from pipeline.job.config import TokenizeConfig
from pipeline.planning.changed_input import refuse_changed_content
from pipeline.planning.output_directory import clear_output, read_output
from pipeline.planning.plan import Plan
from pipeline.planning.prepare import PreparedJob, match_output, prepare, runtime_note
from pipeline.planning.retry_rejects import begin_retry, plan_retry
from pipeline.planning.runtime_request import show_runtime
from pipeline.planning.runtime_selection import runtime_from_cache, select_runtime
from pipeline.planning.work_folder import set_up_work_folder
from pipeline.runners.beam_options import parse_beam_options
from pipeline.runners.beam_pipeline import run_units
from pipeline.stages.early_imports import import_libraries
from pipeline.stages.shared_encoder import share_encoder
from pipeline.work.job_progress import show_progress

__all__ = ["Summary", "retry_rejects", "tokenize"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a finished job.

    Attributes:
      directory: Directory of the finished dataset.
      images_listed: Number of images listed in the source.
      images_rejected: Number of images rejected.
      rejects_by_reason: Number of rejects by reason.
      rejects_by_file: Number of images rejected and listed, by source file; only
        files with rejects.
      records: Number of token records, one per image and view.
      splits: The splits of the dataset, with their counts.
      num_shards: Number of shards.
      units_resumed: Units done by an earlier run; all if the dataset was finished.
      num_units: Number of units.
      runtime: Runtime of the encoder in words, and why it is the reference where the job is
        small; None where the config names the reference.
      empty_files: The empty source files in words; None if there are none.
      images_retried: Number of rejects of an earlier run that were retried.
      left_out: Number of files of the source that are not images, by ending.
      classes: The classes of each carried feature in words.
      crop: That the images were not fitted by the tokenizer's own crop, in words; None if so.
    """

    directory: str
    images_listed: int
    images_rejected: int
    rejects_by_reason: dict[str, int]
    rejects_by_file: dict[str, tuple[int, int]]
    records: int
    splits: dict[str, SplitEntry]
    num_shards: int
    units_resumed: int
    num_units: int
    runtime: str | None = None
    empty_files: str | None = None
    images_retried: int = 0
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    crop: str | None = None

    @property
    def images_written(self) -> int:
        """Number of images with token records."""
        return self.images_listed - self.images_rejected


def tokenize(
    config: TokenizeConfig | str | os.PathLike[str],
    *,
    limit: int | None = None,
    overwrite: bool = False,
    beam_options: Sequence[str] = (),
    progress: bool = False,
) -> Summary:
    """Tokenizes a dataset; resumes an interrupted run of the same job.

    It works in IPython and Jupyter too. Ctrl-C, or an interrupt of the kernel, stops the
    job; the same call then does what is missing, and the result has the same bytes.

    Args:
      config: The config of the job, or the path of its YAML file.
      limit: Use only the first `limit` images.
      overwrite: Remove an earlier job's output first.
      beam_options: Options for Beam, as on a command line. By default it runs
        locally, with cores + 1 threads.
      progress: Show the progress, in a notebook below the cell, elsewhere on stderr.

    Raises:
      RequestError: The request is bad; nothing was written.
      DataError: The data is bad; the next run resumes from the finished units.
      KeyboardInterrupt: The job was interrupted; all its threads have ended.
    """
    if not isinstance(config, TokenizeConfig):
        config = load_config(os.fspath(config), TokenizeConfig)
    prepared = prepare(config, limit=limit, overwrite=overwrite)
    return run(prepared, beam_options=beam_options, progress=progress)


def run(
    prepared: PreparedJob,
    *,
    beam_options: Sequence[str] = (),
    progress: bool = False,
) -> Summary:
    """Runs a prepared job; see `tokenize`."""
    options = parse_beam_options(beam_options)
    if prepared.is_finished and not prepared.output.has_leftovers:
        return summarize(prepared, resumed=prepared.count_done())
    with locked(prepared.output.path):
        # Read again under the lock: another process may have changed it in between.
        if (output := read_output(prepared.output.path)) != prepared.output:
            prepared = match_output(prepared.plan, output, overwrite=prepared.overwrite)
        resumed = prepared.count_done()
        if prepared.is_finished:
            filesystem.remove_temporary(prepared.output.path)
            filesystem.remove(prepared.plan.job.work)
            return summarize(prepared, resumed=resumed)
        plan = prepared.plan
        # Before anything is removed or written, in case the tokenizer cannot be loaded.
        if resumed < plan.job.num_units:
            plan = load_encoder(plan)
        output = clear_output(output) if prepared.overwrite else output
        refuse_changed_content(plan)
        units = set_up_work_folder(plan, output)
        import_libraries(plan.job)
        with show_progress(plan.job) if progress else contextlib.nullcontext():
            run_units(plan.job, units, options)
    return summarize(dataclasses.replace(prepared, plan=plan), resumed=resumed)


def retry_rejects(
    directory: str,
    config: TokenizeConfig | None = None,
    *,
    beam_options: Sequence[str] = (),
    progress: bool = False,
) -> Summary:
    """Retries the rejects of a run, and does its units not started; reuses all others.

    Args:
      directory: The output of a run, finished or not.
      config: Its config; by default the one stored in the directory.
      beam_options: See `tokenize`.
      progress: See `tokenize`.

    Raises:
      RequestError: There is no such run, or images other than rejects changed.
      DataError: See `tokenize`.
    """
    parse_beam_options(beam_options)  # to report a mistake in them first
    with locked(directory):
        retry = plan_retry(directory, config)
        output = retry.output
        if retry.is_needed:
            load_encoder(retry.plan)
            begin_retry(retry)
            output = read_output(directory)
    # From here on it is an unfinished job like any other.
    summary = run(match_output(retry.plan, output), beam_options=beam_options, progress=progress)
    return dataclasses.replace(summary, images_retried=len(retry.rejects) if retry.is_needed else 0)


def load_encoder(plan: Plan) -> Plan:
    """Loads the encoder into this process, and selects its runtime.

    Returns:
      The plan with the runtime.

    Raises:
      RequestError: Contract and weights do not match, or the runtime does not support them.
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
        contract = plan.job.contract
        if contract.buckets is not None:
            for bucket in contract.buckets if contract.imported else ():
                tokenizer.at_size(*bucket)  # refuses graphs of one size before anything is written
            tokenizer = tokenizer.at_size(*contract.buckets[0])
        plan = select_runtime(plan, tokenizer)
        encoder = tokenizer.encoder
    share_encoder(plan.job, encoder)
    return plan


def summarize(prepared: PreparedJob, *, resumed: int) -> Summary:
    """Makes the summary of a finished job from its manifest."""
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
        splits=manifest.splits,
        num_shards=len(manifest.shards),
        units_resumed=resumed,
        num_units=job.num_units,
        runtime=runtime_note(prepared.plan) if runtime.probe is None else show_runtime(runtime),
        empty_files=manifest.fingerprint.fields.input.describe_empty(),
        left_out=manifest.left_out,
        classes=manifest.fingerprint.fields.input.describe_classes(),
        crop=manifest.fingerprint.fields.tokenizer.crop_note,
    )
