"""Tokenizing one unit: read, decode, views, batches, encode, tokens, part."""

import contextlib
import dataclasses
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from fsq import lattice
from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import DataError, FsqError
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.decode import decode_record
from pipeline.job import Job
from pipeline.parts import PlacedRecord, UnitStatus, commit_part
from pipeline.records import (
    BadRecord,
    Carried,
    ImageRecord,
    Reject,
    Unit,
    encode_key,
    place_of,
    serialize,
)
from pipeline.sources import open_source
from pipeline.views import View

SECONDS_TO_WAIT_FOR_TURN = 0.05

_lock = threading.Lock()
_tokenizers: dict[tuple[str, int], Tokenizer] = {}


@dataclasses.dataclass(frozen=True)
class UnitResult:
    """Says that a unit is done, or why it could not be."""

    unit_name: str
    error: str | None = None


class TokenizeUnits(beam.PTransform):
    """Unit in, UnitResult out, one for one. A finished unit is passed on undone.

    A failure inside a unit is a result too: the other units still finish, and
    the shape of the graph stays one line.
    """

    def __init__(self, job: Job):
        self.job = job

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.Map(tokenize_unit, self.job)


class _Slot(NamedTuple):
    """What remains of an image once its pixels are in a batch."""

    key: str
    carried: Carried
    view: View
    tokens: np.ndarray


def tokenize_unit(unit: Unit, job: Job) -> UnitResult:
    """Does one unit and commits its part, unless that was done before."""
    if storage.exists(job.part_status(unit.name)):
        return UnitResult(unit.name)
    try:
        records, status = encode_unit(unit, job, shared_tokenizer(job))
        commit_part(job, unit.name, records, status)
    except (OSError, FsqError) as error:
        return UnitResult(unit.name, error=describe(error, unit.path))
    return UnitResult(unit.name)


def encode_unit(
    unit: Unit, job: Job, tokenizer: Tokenizer
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Reads, decodes and encodes one unit.

    Returns:
      The token records, and the unit's accounting.

    Raises:
      OSError, DataError: The unit's file cannot be read.
    """
    with _Turn() as turn:
        return _encode_unit(unit, job, tokenizer, turn)


def _encode_unit(
    unit: Unit, job: Job, tokenizer: Tokenizer, turn: "_Turn"
) -> tuple[list[PlacedRecord], UnitStatus]:
    clock = _Clock()
    slots: list[_Slot] = []
    rejects: list[Reject] = []
    batch = _Batch(tokenizer, slots, clock, turn)
    read = 0
    for record in clock.timed(open_source(job.source).read(unit, job.features)):
        read += 1
        decoded = decode_record(record, job.contract.image, job.views)
        clock.stop("decode")
        if isinstance(decoded, Reject):
            rejects.append(decoded)
            continue
        for view, pixels in zip(decoded.views, decoded.pixels, strict=True):
            batch.add(decoded.key, decoded.carried, view, pixels)
    batch.flush()

    lost = {slot.key: None for slot in slots if (slot.tokens < 0).any()}
    rejects += [Reject(key, "encode", "expected finite latents, got NaN") for key in lost]
    kept = [slot for slot in slots if slot.key not in lost]
    records = [_place_and_serialize(slot, job) for slot in kept]
    counts: dict[int, int] = {}
    if kept:
        tokens, times = np.unique(np.stack([slot.tokens for slot in kept]), return_counts=True)
        counts = dict(zip(tokens.tolist(), times.tolist(), strict=True))
        if max(counts) >= job.contract.vocab_size:
            raise DataError(
                f"{unit.name}: expected tokens below {job.contract.vocab_size}, got {max(counts)}."
            )
    clock.stop("write")
    status = UnitStatus(
        read=read,
        written=len(records),
        rejects=tuple(rejects),
        token_counts=counts,
        seconds=clock.seconds(),
        part_sha256="",
    )
    return records, status


def shared_tokenizer(job: Job) -> Tokenizer:
    """Returns the job's tokenizer, loaded once per process, however many threads ask."""
    name = (job.fingerprint, job.batch_size)
    with _lock:
        if name not in _tokenizers:
            _tokenizers.clear()  # one job at a time; an old model would only take memory
            _tokenizers[name] = Tokenizer.from_bytes(
                storage.read(storage.join(job.work, CONTRACT_FILE)),
                storage.read(storage.join(job.work, WEIGHTS_FILE)),
                where=job.work,
                batch_size=job.batch_size,
            )
        return _tokenizers[name]


def describe(error: Exception, where: str) -> str:
    """Renders what the world did to us as one line."""
    if isinstance(error, FsqError):
        return str(error)
    name = getattr(error, "filename", None) or where
    return f"{name}: {getattr(error, 'strerror', None) or error}."


class _Batch:
    """Gathers views to full batches and runs the encoder on them."""

    def __init__(self, tokenizer: Tokenizer, slots: list[_Slot], clock: "_Clock", turn: "_Turn"):
        self._tokenizer, self._slots, self._clock, self._turn = tokenizer, slots, clock, turn
        shape = (tokenizer.batch_size, *tokenizer.contract.image.shape)
        self._pixels = np.zeros(shape, np.uint8)
        self._waiting: list[tuple[str, Carried, View]] = []

    def add(self, key: str, carried: Carried, view: View, pixels: np.ndarray) -> None:
        self._pixels[len(self._waiting)] = pixels
        self._waiting.append((key, carried, view))
        if len(self._waiting) == self._tokenizer.batch_size:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        self._clock.stop("decode")
        with self._turn.passed_on():
            tokens = self._tokenizer.encode_batch(self._pixels[: len(self._waiting)])
        flat = tokens.reshape(len(tokens), -1)
        self._slots.extend(
            _Slot(*waiting, row) for waiting, row in zip(self._waiting, flat, strict=True)
        )
        self._waiting.clear()
        self._clock.stop("encode")


class _Turn:
    """Lets one thread read, decode and serialize while the others encode.

    Decoders let go of the interpreter for some microseconds per small image;
    threads that all decode small images then pass it to and fro, and lose a
    third of their speed (measured at 28 x 28). It is a courtesy, no lock: a
    thread whose turn does not come soon, because another waits for a disk or
    decodes large images, goes ahead. Nothing depends on it but speed.
    """

    _only_one = threading.Lock()

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> "_Turn":
        self._held = self._only_one.acquire(timeout=SECONDS_TO_WAIT_FOR_TURN)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._held:
            self._only_one.release()
        self._held = False

    @contextlib.contextmanager
    def passed_on(self) -> Iterator[None]:
        """Gives the turn away inside, and takes one again afterwards."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


class _Clock:
    """Adds up the time between stops, by stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] += now - self._last
        self._last = now

    def timed(
        self, records: Iterator[ImageRecord | BadRecord]
    ) -> Iterator[ImageRecord | BadRecord]:
        for record in records:
            self.stop("read")
            yield record
        self.stop("read")

    def seconds(self) -> dict[str, float]:
        return {stage: round(seconds, 6) for stage, seconds in self._seconds.items()}


def _place_and_serialize(slot: _Slot, job: Job) -> PlacedRecord:
    key = encode_key(slot.key)
    data = serialize(
        slot.tokens.astype(lattice.storage_dtype(job.contract.vocab_size)),
        key,
        slot.view.name,
        slot.view.crop,
        slot.view.flip,
        job.features,
        slot.carried,
        job.token_format,
    )
    return PlacedRecord(place_of(key, slot.view.name), data)
