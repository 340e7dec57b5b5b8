"""Encoding a unit: reads, decodes, crops and encodes its images, commits the part."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

from fsq.errors import DataError, FsqError
from fsq.runtimes.batch_encoder import BatchEncoder
from pipeline.core.hardware import machine_kind
from pipeline.core.records import (
    BadRecord,
    ImageRecord,
    Reject,
    Unit,
    hash_record,
    hex_of_hashes,
    record_numbers,
)
from pipeline.job.job import Job
from pipeline.sources.stall_timeout import (
    Heartbeat,
    StalledError,
    run_with_stall_timeout,
    stall_reason,
    with_heartbeat,
)
from pipeline.stages.batching import PendingView, UnitBatches
from pipeline.stages.decode import Refusal, decode_record
from pipeline.stages.gil_limiter import GilLimiter
from pipeline.stages.shared_encoder import shared_encoder
from pipeline.stages.stage_timer import StageTimer
from pipeline.work.signals import (
    NOT_STARTED,
    count_rejects,
    describe_error,
    interrupted,
    stop,
    stop_reason,
)
from pipeline.work.unit_files import PlacedRecord, UnitStatus, commit_part, read_done

# Records read before they are decoded: enough to make switching between the two cheap, few enough
# for the files of large photographs to fit in memory.
RECORDS_PER_READ = 16
NOT_FINITE = "expected finite latents, got NaN or infinity"


@dataclasses.dataclass(frozen=True)
class UnitResult:
    """The outcome of a unit; `error` says why it failed."""

    unit_name: str
    error: str | None = None


def tokenize_unit(unit: Unit, job: Job) -> UnitResult:
    """Tokenizes one unit and commits its part, unless it is committed already."""
    if stop_reason(job):
        return UnitResult(unit.name, error=NOT_STARTED)
    try:
        if (done := read_done(job, unit.name)) is not None:
            count_rejects(job, unit.name, done.num_unwished)
            return UnitResult(unit.name)
        if not unit.spans:
            raise DataError(
                f"{job.part(unit.name)}: expected the records of an earlier run, got a damaged "
                "part. Run again with --overwrite."
            )
        records, status = read_and_encode(unit, job, shared_encoder(job))
    except (OSError, FsqError) as error:
        return UnitResult(unit.name, error=describe_error(error, unit.path))
    try:
        with GilLimiter():
            commit_part(job, unit.name, records, status)
    except OSError as error:
        # If one part cannot be written, no other can.
        message = describe_error(error, job.output)
        stop(job, message)
        return UnitResult(unit.name, error=message)
    count_rejects(job, unit.name, status.num_unwished)
    return UnitResult(unit.name)


def read_and_encode(
    unit: Unit, job: Job, encoder: BatchEncoder
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Runs `encode_unit`, again if a read stalls; an image that stalls every time is rejected.

    Raises:
      OSError, DataError: The unit's file cannot be read, too many reads stall, or the run is
        interrupted.
    """
    numbers = list(record_numbers(unit))
    timed_out: Mapping[int, str] = {}
    reason = stall_reason(job.config.read_timeout_seconds, job.config.read_tries)

    def work(heartbeat: Heartbeat) -> tuple[list[PlacedRecord], UnitStatus]:
        limiter = GilLimiter()
        # A thread that hangs must not block the others.
        heartbeat.on_cancel = limiter.release
        return encode_unit(
            unit, job, encoder, heartbeat=heartbeat, limiter=limiter, timed_out=timed_out
        )

    while True:
        try:
            return run_with_stall_timeout(
                work,
                timeout_seconds=job.config.read_timeout_seconds,
                tries=job.config.read_tries,
                where=unit.path,
                interrupted=lambda: interrupted(job),
            )
        except StalledError as stall:
            if stall.count >= len(numbers):
                raise
            number = numbers[stall.count]
            if number in timed_out or len(timed_out) >= job.max_rejects:
                raise
            timed_out = {**timed_out, number: reason}


def encode_unit(
    unit: Unit,
    job: Job,
    encoder: BatchEncoder,
    *,
    heartbeat: Heartbeat,
    limiter: GilLimiter,
    timed_out: Mapping[int, str],
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Reads, decodes and encodes one unit.

    Args:
      unit: The unit.
      job: The job.
      encoder: The job's encoder.
      heartbeat: Notified of every read.
      limiter: Held during work that needs the GIL.
      timed_out: Records whose read stalled in every try, by number, with the reason.

    Returns:
      The token records and the unit's status.

    Raises:
      OSError, DataError: The unit's file cannot be read.
    """
    timer, tally = StageTimer(), UnitTally()
    source = job.config.open_source()
    with limiter:
        batches = UnitBatches(job, encoder, timer, limiter)
        records = with_heartbeat(source.read(unit, job.features, timed_out), heartbeat)
        numbered = zip(record_numbers(unit), records, strict=True)
        while some := list(itertools.islice(numbered, RECORDS_PER_READ)):
            groups = [source.group_of(unit, record.key) for _, record in some]
            for (number, record), group in zip(some, groups, strict=True):
                tally.list(number, record, group)
            timer.lap("read")
            for (number, record), group in zip(some, groups, strict=True):
                _decode(number, record, group, job, batches, tally)
            limiter.observe(timer.lap("decode") / tally.num_listed)
        batches.flush()
        tally.reject(
            Reject(view.key, "encode", NOT_FINITE, view.group, number)
            for number, view in batches.not_finite.items()
        )
        placed, written = batches.records(unit.split)
        timer.lap("write")
    return placed, tally.status(unit, written, batches.token_counts(), timer.seconds())


def _decode(
    number: int,
    record: ImageRecord | BadRecord,
    group: str,
    job: Job,
    batches: UnitBatches,
    tally: "UnitTally",
) -> None:
    """Decodes an image: adds its views to the batches, or rejects it."""
    config = job.config
    decoded = decode_record(
        record,
        job.contract.fitted,
        config.views,
        config.decode,
        size_filter=config.filter,
        buckets=config.buckets or (),
    )
    if isinstance(decoded, Refusal):
        tally.reject([Reject(record.key, decoded.stage, decoded.reason, group, number)])
        return
    for view, pixels in zip(decoded.views, decoded.pixels, strict=True):
        batches.add(PendingView(record.key, number, group, decoded.carried, view), pixels)


class UnitTally:
    """Counts the listed and rejected images of a unit, by source file."""

    def __init__(self) -> None:
        self._listed: Counter[str] = Counter()
        self._content: Counter[str] = Counter()
        self._hashes: dict[int, int] = {}
        self._rejects: list[Reject] = []

    @property
    def num_listed(self) -> int:
        """Number of records listed so far."""
        return len(self._hashes)

    def list(self, number: int, record: ImageRecord | BadRecord, group: str) -> None:
        """Counts a record that was read, and hashes its content."""
        self._listed[group] += 1
        self._hashes[number] = hash_record(record)
        self._content[group] += self._hashes[number]

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Adds rejected records."""
        self._rejects += rejects

    def status(
        self,
        unit: Unit,
        written: dict[str, int],
        token_counts: dict[int, int],
        seconds: dict[str, float],
    ) -> UnitStatus:
        """Returns the status of the unit, with rejects in the order of the input."""
        self._rejects.sort(key=lambda reject: reject.record)
        rejected_content = 0
        for reject in self._rejects:
            rejected_content += self._hashes[reject.record]
            self._content[reject.file] -= self._hashes[reject.record]
        return UnitStatus(
            source=unit.path,
            listed=dict(self._listed),
            written=written,
            rejects=tuple(self._rejects),
            token_counts=token_counts,
            content={group: hex_of_hashes(total) for group, total in self._content.items()},
            rejected_content=hex_of_hashes(rejected_content),
            etag=unit.etag,
            machine=machine_kind(),
            seconds=seconds,
        )
