"""Shared encoder: one encoder per process, used by all its threads; with buckets, one for each."""

import threading

from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.job.job import Job
from pipeline.planning.runtime_selection import cached_encoder

Size = tuple[int, int]

_lock = threading.Lock()
_encoders: dict[tuple[str, int, Size], BatchEncoder] = {}
_tokenizers: dict[str, Tokenizer] = {}  # of jobs with buckets, for those that are still to come


def share_encoder(job: Job, encoder: BatchEncoder) -> None:
    """Sets the encoder that this process uses for the job; with buckets, for the first."""
    with _lock:
        _share(job, encoder)


def shared_encoder(job: Job) -> BatchEncoder:
    """Returns the job's encoder, with buckets that of the first.

    It is loaded once per process, however many threads ask.
    """
    size = _first_size(job)
    with _lock:
        if _key(job, size) not in _encoders:
            _share(job, cached_encoder(job) or _load_encoder(job, size))
        return _encoders[_key(job, size)]


def bucket_encoder(job: Job, size: Size) -> BatchEncoder:
    """Returns the job's encoder of one bucket, made when its first image comes.

    Args:
      job: A job with buckets, whose encoder of the first bucket is loaded.
      size: Height and width of the bucket.
    """
    with _lock:
        if _key(job, size) not in _encoders:
            _encoders[_key(job, size)] = _load_encoder(job, size)
        return _encoders[_key(job, size)]


def _load_encoder(job: Job, size: Size) -> BatchEncoder:
    assert job.runtime != "auto", "the runtime is selected before a job starts"
    tokenizer = _tokenizers.get(job.fingerprint) or _load_tokenizer(job)
    if job.contract.buckets is not None:
        _tokenizers[job.fingerprint] = tokenizer
        tokenizer = tokenizer.at_size(*size)
    tokenizer.use_runtime(job.runtime, job.config.precision)
    return tokenizer.encoder


def _load_tokenizer(job: Job) -> Tokenizer:
    return Tokenizer.from_bytes(
        filesystem.read(filesystem.join(job.work, CONTRACT_FILE)),
        filesystem.read(filesystem.join(job.work, WEIGHTS_FILE)),
        where=job.work,
        batch_size=job.config.batch_size,
    )


def _share(job: Job, encoder: BatchEncoder) -> None:
    # One job at a time; an old model would only take memory.
    _encoders.clear()
    _tokenizers.clear()
    _encoders[_key(job, _first_size(job))] = encoder


def _first_size(job: Job) -> Size:
    height, width, _ = job.contract.of_first_bucket.image.shape
    return height, width


def _key(job: Job, size: Size) -> tuple[str, int, Size]:
    return job.fingerprint, job.config.batch_size, size
