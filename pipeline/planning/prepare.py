"""Preparing a job: its plan, compared with the output directory: new, unfinished or finished."""

import dataclasses
import re
from collections.abc import Callable, Iterable

from fsq.dataset.fingerprint import Fingerprint
from fsq.dataset.formats import show_formats
from fsq.errors import RequestError
from pipeline.core.left_out import describe_left_out
from pipeline.core.records import Unit, record_numbers
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.changed_input import changed_image
from pipeline.planning.output_directory import OutputDirectory, read_output, refuse_foreign
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.runtime_request import show_runtime, small_job_note
from pipeline.planning.runtime_selection import reuse_runtime
from pipeline.sources import Listing
from pipeline.sources.units import etag_of
from pipeline.work.unit_files import read_done


@dataclasses.dataclass(frozen=True)
class PreparedJob:
    """A plan that matches its output directory.

    Attributes:
      plan: The plan, with runtime and units of its unfinished job, if any.
      output: What the output directory holds.
      overwrite: Whether to remove that first.
    """

    plan: Plan
    output: OutputDirectory
    overwrite: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the output is the finished dataset of this plan."""
        return not self.overwrite and self.output.manifest is not None

    def count_done(self) -> int:
        """Counts the finished units; reads the unit files of an unfinished job."""
        job = self.plan.job
        if self.is_finished:
            return job.num_units
        if self.overwrite or self.output.job_file is None:
            return 0
        return sum(read_done(job, name) is not None for name in job.unit_names())


def prepare(
    config: TokenizeConfig,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    get_listing: Callable[[], Listing] | None = None,
) -> PreparedJob:
    """Plans a job and compares it with its output directory; writes nothing.

    Args:
      config: The job's config.
      limit: Use only the first `limit` images.
      overwrite: Remove an earlier job's output first.
      get_listing: See `make_plan`.

    Raises:
      RequestError: Tokenizer, source or config do not fit together; or the output
        holds a different job, finished or not, or foreign files.
      DataError: A file of the source is damaged.
    """
    plan = make_plan(config, limit=limit, get_listing=get_listing)
    return match_output(plan, read_output(plan.job.output), overwrite=overwrite)


def match_output(plan: Plan, output: OutputDirectory, *, overwrite: bool = False) -> PreparedJob:
    """Compares a plan with its output directory; takes over its unfinished job.

    Raises:
      RequestError: The output holds a different job or foreign files.
    """
    if overwrite:
        refuse_foreign(output)
        _refuse_loss(plan, output)
        return PreparedJob(plan, output, overwrite)
    plan = reuse_runtime(plan, output.fingerprint)
    _refuse_other(plan, output)
    return PreparedJob(_reuse_units(plan, output), output)


def _refuse_other(plan: Plan, output: OutputDirectory) -> None:
    """Raises a RequestError that names the first field in which the two jobs differ."""
    if output.fingerprint is not None:
        what = "parts" if output.manifest is None else "a dataset"
        if (lost := _lost_by(plan, output.fingerprint)) is not None:
            raise RequestError(
                f"{output.path}: expected {what} of this job, found {what} of another job: it "
                f"holds {lost}. To have several splits in one dataset, name all of them in "
                "output.split; or choose another directory."
            )
        difference = output.fingerprint.first_difference(plan.fingerprint)
        advice = "Choose another directory, or use --overwrite"
        if difference is not None and re.match("input (?!classes )", difference):
            difference = changed_image(plan) or difference
            advice += f"; if only rejects changed: fsq tokenize --only-rejects {output.path}"
        if difference is not None:
            raise RequestError(
                f"{output.path}: expected {what} of this job, found {what} of another job: "
                f"{difference}. {advice}."
            )
    if output.manifest is None and output.foreign_file is not None:
        raise RequestError(
            f"{output.path}: expected only files of this job, found {output.foreign_file!r}. "
            "Move it away, or choose another directory."
        )


def _lost_by(plan: Plan, held: Fingerprint) -> str | None:
    """Names what a directory holds that the job would not write again, but its own replace."""
    if held.name != plan.fingerprint.name:
        return f"dataset {held.name!r}"
    lost = [name for name in held.splits if name not in plan.fingerprint.splits]
    return _show_names(lost) if lost else None


def _refuse_loss(plan: Plan, output: OutputDirectory) -> None:
    """Checks that --overwrite replaces a dataset by one with its name and all of its splits.

    Raises:
      RequestError: A finished dataset would be lost.
    """
    if output.manifest is None:
        return
    lost = _lost_by(plan, output.manifest.fingerprint.fields)
    if lost is not None:
        raise RequestError(
            f"{output.path}: expected an earlier output of dataset {plan.fingerprint.name!r} with "
            f"{_show_names(plan.fingerprint.splits)} to overwrite, found {lost}, which would be "
            "lost. Choose another directory, or remove this one yourself."
        )


def _show_names(splits: Iterable[str]) -> str:
    names = [repr(name) for name in splits]
    return f"{'split' if len(names) == 1 else 'splits'} {', '.join(names)}"


def _reuse_units(plan: Plan, output: OutputDirectory) -> Plan:
    """Gives a plan the units of its unfinished job, which differ while rejects are retried."""
    job_file = output.job_file
    if job_file is None:
        return plan
    units = plan.units
    if job_file.units is not None:
        units = [_with_etag(unit, plan.listing) for unit in job_file.units]
    job = dataclasses.replace(plan.job, num_units=len(units), attempt=job_file.attempt)
    return dataclasses.replace(plan, job=job, units=units)


def _with_etag(unit: Unit, listing: Listing) -> Unit:
    """Updates the etag of a stored unit to its present input."""
    if not unit.spans or (file := listing.file_of(unit)) is None:
        return unit
    return dataclasses.replace(unit, etag=etag_of(listing, file, list(record_numbers(unit))))


def runtime_note(plan: Plan) -> str | None:
    """Returns `small_job_note` of a planned job."""
    job = plan.job
    return small_job_note(
        job.config, job.contract.of_first_bucket, job.num_records * len(job.views)
    )


def describe_job(prepared: PreparedJob) -> list[tuple[str, str]]:
    """Describes a job as (name, value) pairs, for `--dry-run`."""
    plan = prepared.plan
    job, contract, config = plan.job, plan.job.contract, plan.job.config
    if prepared.overwrite:
        state = "new, replaces what is there"
    elif prepared.is_finished:
        state = "already finished"
    else:
        done = prepared.count_done()
        state = f"to resume, {done} of {job.num_units} units done" if done else "new"
    left_out = describe_left_out(dict(job.left_out))
    empty = plan.fingerprint.input.describe_empty()
    formats = len(config.output.formats)
    return [
        ("source", f"{config.open_source().describe()}, {job.num_records:,} images"),
        *([("left out", left_out)] if left_out else []),
        *([("metadata", plan.listing.metadata)] if plan.listing.metadata else []),
        *([("empty", empty)] if empty else []),
        *(("classes", line) for line in plan.fingerprint.input.describe_classes()),
        ("units", f"{job.num_units}, batches of {config.batch_size}"),
        (
            "tokens",
            f"{contract.show_grid}, each in [0, {contract.vocab_size}), stored as {contract.dtype}",
        ),
        *([("buckets", contract.show_sizes)] if contract.buckets else []),
        *([("filter", config.filter.describe())] if config.filter else []),
        ("runtime", runtime_note(plan) or show_runtime(plan.fingerprint.runtime)),
        *([("crop", note)] if (note := contract.crop_note) else []),
        ("views", ", ".join(job.views)),
        ("carried", ", ".join(feature.name for feature in job.features) or "nothing"),
        ("splits", _describe_splits(job)),
        (
            "output",
            f"{job.output}, {job.num_records * len(job.views):,} records "
            f"in {job.num_shards} shards"
            f"{', ' + show_formats(config.output.formats) if formats > 1 else ''}",
        ),
        ("state", state),
    ]


def _describe_splits(job: Job) -> str:
    shares = job.config.output.shares or {}
    return "; ".join(
        f"{split.name}: {'about ' if 0 < shares.get(split.name, 0) < 1 else ''}"
        f"{split.num_records:,} images, {split.num_shards} shards"
        for split in job.splits
    )
