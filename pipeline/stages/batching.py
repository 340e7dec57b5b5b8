"""Batching: collects views in batches of one size, encodes them and serializes the records."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from fsq.dataset.example.encoder import ExampleWriter
from fsq.dataset.records import Carried, encode_key, place_digest
from fsq.errors import DataError
from fsq.images.view import View
from fsq.runtimes.batch_encoder import BatchEncoder
from pipeline.job.job import Job
from pipeline.stages.gil_limiter import GilLimiter
from pipeline.stages.shared_encoder import bucket_encoder
from pipeline.stages.stage_timer import StageTimer
from pipeline.work.unit_files import PlacedRecord


class PendingView(NamedTuple):
    """A view whose pixels are in the batch.

    Attributes:
      key: Key of the image.
      record: Number of the image in the source file.
      group: The source file that the image is counted in.
      carried: Values of the carried features.
      view: The view.
    """

    key: str
    record: int
    group: str
    carried: Carried
    view: View


class _Batch:
    """The views of one size that are collected for one call of their encoder."""

    def __init__(self, encoder: BatchEncoder):
        self.encoder = encoder
        self.pixels = np.zeros((encoder.batch_size, *encoder.contract.image.shape), np.uint8)
        self.pending: list[PendingView] = []


class UnitBatches:
    """Collects the views of a unit in full batches and runs the encoder on them.

    With buckets, a batch holds views of one bucket.

    Attributes:
      not_finite: One view of each image with a NaN or an infinite latent, by image number.
    """

    def __init__(self, job: Job, encoder: BatchEncoder, timer: StageTimer, limiter: GilLimiter):
        self.not_finite: dict[int, PendingView] = {}
        self._writer = ExampleWriter(
            job.contract.vocab_size,
            job.features,
            job.config.output.tokens,
            with_grid=job.contract.buckets is not None,
        )
        self._job = job
        self._timer, self._limiter = timer, limiter
        self._batches = {encoder.contract.image.shape: _Batch(encoder)}
        self._encoded: list[tuple[list[PendingView], np.ndarray]] = []

    def add(self, view: PendingView, pixels: np.ndarray) -> None:
        """Adds one view, uint8 [H, W, C]; a full batch is encoded."""
        batch = self._batches.get(pixels.shape)
        if batch is None:
            height, width, _ = pixels.shape
            batch = _Batch(bucket_encoder(self._job, (height, width)))
            self._batches[pixels.shape] = batch
        batch.pixels[len(batch.pending)] = pixels
        batch.pending.append(view)
        if len(batch.pending) == batch.encoder.batch_size:
            self._encode(batch)

    def flush(self) -> None:
        """Encodes the views collected so far, padded to the batch size."""
        for batch in self._batches.values():
            if batch.pending:
                self._encode(batch)

    def _encode(self, batch: "_Batch") -> None:
        pending, batch.pending = batch.pending, []
        self._timer.lap("decode")
        with self._limiter.released():
            tokens = batch.encoder.encode_batch(batch.pixels[: len(pending)])
            self._timer.lap("encode")
        self._timer.lap("wait")
        self._check(pending, tokens.reshape(len(tokens), -1))
        self._encoded.append((pending, tokens))

    def records(self, split: str | None) -> tuple[list[PlacedRecord], dict[str, int]]:
        """Serializes the records of all images with finite latents.

        Args:
          split: The split that the source listed the unit in, if it lists parts.

        Returns:
          The records, and their number by source file.
        """
        records: list[PlacedRecord] = []
        written: Counter[str] = Counter()
        for views, tokens in self._encoded:
            _, *grid = tokens.shape
            values = self._writer.tokens_to_values(tokens.reshape(len(tokens), -1))
            for pending, value in zip(views, values, strict=True):
                if pending.record in self.not_finite:
                    continue
                key = encode_key(pending.key)
                data = self._writer.serialize(
                    value, key, pending.view, pending.carried, tuple(grid)
                )
                digest = place_digest(key, pending.view.name)
                number = self._job.split_of(pending.key, split)
                records.append(PlacedRecord(digest, data, pending.record, number))
                written[pending.group] += 1
        return records, dict(written)

    def token_counts(self) -> dict[int, int]:
        """Counts the tokens of all images with finite latents."""
        finite = [
            tokens[[p.record not in self.not_finite for p in views]] if self.not_finite else tokens
            for views, tokens in self._encoded
        ]
        if not finite:
            return {}
        flat = np.concatenate([tokens.ravel() for tokens in finite])
        tokens, times = np.unique(flat, return_counts=True)
        return dict(zip(tokens.tolist(), times.tolist(), strict=True))

    def _check(self, pending: list[PendingView], tokens: np.ndarray) -> None:
        """Notes images with a token of -1, a latent that is not finite; checks the upper bound."""
        for row in np.flatnonzero((tokens < 0).any(axis=1)):
            self.not_finite[pending[row].record] = pending[row]
        vocab_size = self._job.contract.vocab_size
        if tokens.max() >= vocab_size:
            raise DataError(
                f"{pending[0].key}: expected tokens below {vocab_size} in the batch that "
                f"starts here, got {tokens.max()}. Set another runtime in the config."
            )
