"""Tokenizing one unit: read, decode, views, batches, encode, tokens, part."""

import dataclasses
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from fsq.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.errors import DataError, FsqError, RequestError
from fsq.tokenizer import Tokenizer
from pipeline import storage
from pipeline.decode import decode_record
from pipeline.example import ExampleWriter
from pipeline.job import Job
from pipeline.parts import PlacedRecord, UnitStatus, commit_part, is_done
from pipeline.records import (
    BadRecord,
    Carried,
    ImageRecord,
    Reject,
    Unit,
    encode_key,
    place_digest,
)
from pipeline.sources import open_source
from pipeline.turn import Turn
from pipeline.views import View

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
    tokens_value: bytes


def tokenize_unit(unit: Unit, job: Job) -> UnitResult:
    """Does one unit and commits its part, unless that was done before."""
    try:
        if is_done(job, unit.name):
            return UnitResult(unit.name)
        tokenizer = shared_tokenizer(job)
        with Turn() as turn:
            records, status = encode_unit(unit, job, tokenizer, turn)
            commit_part(job, unit.name, records, status)
    except (OSError, FsqError) as error:
        return UnitResult(unit.name, error=describe(error, unit.path))
    return UnitResult(unit.name)


def encode_unit(
    unit: Unit, job: Job, tokenizer: Tokenizer, turn: Turn
) -> tuple[list[PlacedRecord], UnitStatus]:
    """Reads, decodes and encodes one unit.

    Returns:
      The token records, and the unit's accounting.

    Raises:
      OSError, DataError: The unit's file cannot be read.
    """
    clock = _Clock()
    slots: list[_Slot] = []
    rejects: list[Reject] = []
    batch = _Batch(job, tokenizer, slots, clock, turn)
    read = 0
    for record in clock.timed(open_source(job.source).read(unit, job.features)):
        read += 1
        decoded = decode_record(record, job.contract.image, job.views, job.decode)
        clock.stop("decode")
        if isinstance(decoded, Reject):
            rejects.append(decoded)
            continue
        for view, pixels in zip(decoded.views, decoded.pixels, strict=True):
            batch.add(decoded.key, decoded.carried, view, pixels)
    batch.flush()

    rejects += [Reject(key, "encode", "expected finite latents, got NaN") for key in batch.lost]
    records = [
        _place_and_serialize(slot, batch.writer) for slot in slots if slot.key not in batch.lost
    ]
    clock.stop("write")
    status = UnitStatus(
        read=read,
        written=len(records),
        rejects=tuple(rejects),
        token_counts=batch.token_counts(),
        seconds=clock.seconds(),
        part_sha256="",
    )
    return records, status


def shared_tokenizer(job: Job) -> Tokenizer:
    """Returns the job's tokenizer, loaded once per process, however many threads ask."""
    name = (job.fingerprint, job.batch_size)
    with _lock:
        if name not in _tokenizers:
            _keep(
                job,
                storage.read(storage.join(job.work, CONTRACT_FILE)),
                storage.read(storage.join(job.work, WEIGHTS_FILE)),
                job.work,
            )
        return _tokenizers[name]


def load_tokenizer(job: Job, contract_data: bytes, weights_data: bytes, where: str) -> None:
    """Loads the job's tokenizer in this process before the job begins.

    Raises:
      RequestError: Contract and weights do not fit together.
    """
    with _lock:
        try:
            _keep(job, contract_data, weights_data, where)
        except DataError as error:
            raise RequestError(f"{where}: {error}") from error


def _keep(job: Job, contract_data: bytes, weights_data: bytes, where: str) -> None:
    _tokenizers.clear()  # one job at a time; an old model would only take memory
    _tokenizers[job.fingerprint, job.batch_size] = Tokenizer.from_bytes(
        contract_data, weights_data, where=where, batch_size=job.batch_size
    )


def describe(error: Exception, where: str) -> str:
    """Renders what the world did to us as one line."""
    if isinstance(error, FsqError):
        return str(error)
    name = getattr(error, "filename", None) or where
    return f"{name}: {getattr(error, 'strerror', None) or error}."


class _Batch:
    """Gathers views to full batches and runs the encoder on them.

    Attributes:
      lost: Keys of the images with a NaN latent in any of their views.
      writer: What serializes the job's records.
    """

    def __init__(
        self, job: Job, tokenizer: Tokenizer, slots: list[_Slot], clock: "_Clock", turn: Turn
    ):
        self.lost: dict[str, None] = {}
        self.writer = ExampleWriter(job.contract.vocab_size, job.features, job.token_format)
        self._tokenizer, self._slots, self._clock, self._turn = tokenizer, slots, clock, turn
        shape = (tokenizer.batch_size, *tokenizer.contract.image.shape)
        self._pixels = np.zeros(shape, np.uint8)
        self._waiting: list[tuple[str, Carried, View]] = []
        self._encoded: list[tuple[list[str], np.ndarray]] = []

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
            self._clock.stop("encode")
        self._clock.stop("wait")
        tokens = tokens.reshape(len(tokens), -1)
        keys = [key for key, _, _ in self._waiting]
        self._check(tokens, keys)
        self._encoded.append((keys, tokens))
        values = self.writer.tokens_to_values(tokens)
        self._slots.extend(
            _Slot(*waiting, value) for waiting, value in zip(self._waiting, values, strict=True)
        )
        self._waiting.clear()

    def token_counts(self) -> dict[int, int]:
        """Counts the tokens of all images that are not lost."""
        kept = [
            tokens[[key not in self.lost for key in keys]] if self.lost else tokens
            for keys, tokens in self._encoded
        ]
        if not kept:
            return {}
        tokens, times = np.unique(np.concatenate(kept), return_counts=True)
        return dict(zip(tokens.tolist(), times.tolist(), strict=True))

    def _check(self, tokens: np.ndarray, keys: list[str]) -> None:
        """Notes the images with NaN latents; a token beyond the vocabulary is an error."""
        for row in np.flatnonzero((tokens < 0).any(axis=1)):
            self.lost[keys[row]] = None
        vocab_size = self._tokenizer.contract.vocab_size
        if tokens.max() >= vocab_size:
            raise DataError(
                f"{keys[0]}: expected tokens below {vocab_size} in the batch that begins here, "
                f"got {tokens.max()}. The encoder's runtime is at fault."
            )


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


def _place_and_serialize(slot: _Slot, writer: ExampleWriter) -> PlacedRecord:
    key = encode_key(slot.key)
    data = writer.serialize(slot.tokens_value, key, slot.view, slot.carried)
    return PlacedRecord(place_digest(key, slot.view.name), data)
