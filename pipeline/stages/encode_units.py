"""Tokenizing one unit: read, decode, views, batches, encode, tokens, part."""

import dataclasses
import itertools
import threading
from collections import Counter
from collections.abc import Mapping

from fsq.errors import DataError, FsqError
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.core.hardware import machine_kind
from pipeline.core.records import Reject, Unit, hash_record, hex_of_hashes, record_numbers
from pipeline.job.job import Job
from pipeline.planning.runtime_selection import kept_encoder
from pipeline.sources import open_source
from pipeline.sources.stall_timeout import Heart, StalledError, heard, patiently, stall_reason
from pipeline.stages.batching import Batch, Waiting
from pipeline.stages.decode import Refusal, decode_record
from pipeline.stages.gil_limiter import Turn
from pipeline.stages.stage_timer import Clock
from pipeline.work.signals import NOT_BEGUN, count_rejects, describe, interrupted, stop, stopped
from pipeline.work.unit_files import PlacedRecord, UnitStatus, commit_part, read_done

# Read before they are decoded: enough that turning from one to the other costs nothing, and few
# enough that the files of large photographs fit into memory.
RECORDS_AT_A_TIME = 16
NOT_FINITE = "expected finite latents, got NaN or infinity"

_lock = threading.Lock()
_encoders: dict[tuple[str, int], BatchEncoder] = {}


@dataclasses.dataclass(frozen=True)
class UnitResult:
    """Says that a unit is done, or why it could not be."""

    unit_name: str
    error: str | None = None


def tokenize_unit(unit: Unit, job: Job) -> UnitResult:
    """Does one unit and commits its part, unless that was done before."""
    if stopped(job):
        return UnitResult(unit.name, error=NOT_BEGUN)
    try:
        if (done := read_done(job, unit.name)) is not None:
            count_rejects(job, unit.name, len(done.rejects))
            return UnitResult(unit.name)
        if not unit.spans:
            raise DataError(
                f"{job.part(unit.name)}: expected the records that were kept, got a damaged part. "
                "They cannot be made again by themselves; run with --overwrite."
            )
        records, status = read_and_encode(unit, job, shared_encoder(job))
    except (OSError, FsqError) as error:
        return UnitResult(unit.name, error=describe(error, unit.path))
    try:
        with Turn():
            commit_part(job, unit.name, records, status)
    except OSError as error:
        # Where one part cannot be written, no other can.
        message = describe(error, job.output)
        stop(job, message)
        return UnitResult(unit.name, error=message)
    count_rejects(job, unit.name, len(status.rejects))
    return UnitResult(unit.name)


def read_and_encode(
    unit: Unit, job: Job, encoder: BatchEncoder
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Does `encode_unit`, and again if a read stalls; an image that never comes is a reject.

    Raises:
      OSError, DataError: The unit's file cannot be read, too much of it stalls, or the run is
        interrupted.
    """
    numbers = list(record_numbers(unit))
    given_up: Mapping[int, str] = {}
    reason = stall_reason(job.read_timeout_seconds, job.read_tries)

    def work(heart: Heart) -> tuple[list[PlacedRecord], UnitStatus]:
        turn = Turn()
        # A thread that hangs must not hold the others up.
        heart.on_abandon = turn.give_up
        return encode_unit(unit, job, encoder, heart=heart, turn=turn, given_up=given_up)

    while True:
        try:
            return patiently(
                work,
                timeout_seconds=job.read_timeout_seconds,
                tries=job.read_tries,
                where=unit.path,
                interrupted=lambda: interrupted(job),
            )
        except StalledError as stall:
            if stall.count >= len(numbers):
                raise
            number = numbers[stall.count]
            if number in given_up or len(given_up) >= job.max_rejects:
                raise
            given_up = {**given_up, number: reason}


def encode_unit(
    unit: Unit,
    job: Job,
    encoder: BatchEncoder,
    *,
    heart: Heart,
    turn: Turn,
    given_up: Mapping[int, str],
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Reads, decodes and encodes one unit.

    Args:
      unit: What to read.
      job: How.
      encoder: The job's.
      heart: Told of every record.
      turn: Taken while the interpreter is busy.
      given_up: Records that are not waited for any more, by number, and why.

    Returns:
      The token records, and the unit's accounting.

    Raises:
      OSError, DataError: The unit's file cannot be read.
    """
    clock = Clock()
    rejects: list[Reject] = []
    listed: Counter[str] = Counter()
    content: Counter[str] = Counter()
    hashes: dict[int, int] = {}
    source = open_source(job.source)
    with turn:
        batch = Batch(job, encoder, clock, turn)
        records = heard(source.read(unit, job.features, given_up), heart)
        numbered = zip(record_numbers(unit), records, strict=True)
        while some := list(itertools.islice(numbered, RECORDS_AT_A_TIME)):
            groups = [source.group_of(unit, record.key) for _, record in some]
            listed.update(groups)
            for (number, record), group in zip(some, groups, strict=True):
                hashes[number] = hash_record(record)
                content[group] += hashes[number]
            clock.stop("read")
            for (number, record), group in zip(some, groups, strict=True):
                decoded = decode_record(record, job.contract.image, job.views, job.decode)
                if isinstance(decoded, Refusal):
                    reject = Reject(record.key, decoded.stage, decoded.reason, group, number)
                    rejects.append(reject)
                    continue
                for view, pixels in zip(decoded.views, decoded.pixels, strict=True):
                    batch.add(Waiting(record.key, number, group, decoded.carried, view), pixels)
            turn.note(clock.stop("decode") / len(hashes))
        batch.flush()
        rejects += [
            Reject(waiting.key, "encode", NOT_FINITE, waiting.group, number)
            for number, waiting in batch.lost.items()
        ]
        rejects.sort(key=lambda reject: reject.record)
        refused = 0
        for reject in rejects:
            refused += hashes[reject.record]
            content[reject.file] -= hashes[reject.record]
        placed, written = batch.records()
        clock.stop("write")
    status = UnitStatus(
        source=unit.path,
        listed=dict(listed),
        written=written,
        rejects=tuple(rejects),
        token_counts=batch.token_counts(),
        content={group: hex_of_hashes(total) for group, total in content.items()},
        refused=hex_of_hashes(refused),
        stamp=unit.stamp,
        machine=machine_kind(),
        seconds=clock.seconds(),
    )
    return placed, status


def shared_encoder(job: Job) -> BatchEncoder:
    """Returns the job's encoder, loaded once per process, however many threads ask."""
    name = (job.fingerprint, job.batch_size)
    with _lock:
        if name not in _encoders:
            _keep(job, kept_encoder(job) or _load_encoder(job))
        return _encoders[name]


def _load_encoder(job: Job) -> BatchEncoder:
    tokenizer = Tokenizer.from_bytes(
        filesystem.read(filesystem.join(job.work, CONTRACT_FILE)),
        filesystem.read(filesystem.join(job.work, WEIGHTS_FILE)),
        where=job.work,
        batch_size=job.batch_size,
    )
    assert job.runtime != "auto", "a job begins when its runtime is settled"
    tokenizer.use_runtime(job.runtime, job.precision)
    return tokenizer.encoder


def share_encoder(job: Job, encoder: BatchEncoder) -> None:
    """Gives this process an encoder for the job, ready to run."""
    with _lock:
        _keep(job, encoder)


def _keep(job: Job, encoder: BatchEncoder) -> None:
    _encoders.clear()  # one job at a time; an old model would only take memory
    _encoders[job.fingerprint, job.batch_size] = encoder
