"""Shared encoder: one encoder per process, used by all its threads."""

import threading

from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.job.job import Job
from pipeline.planning.runtime_selection import cached_encoder

_lock = threading.Lock()
_encoders: dict[tuple[str, int], BatchEncoder] = {}


def share_encoder(job: Job, encoder: BatchEncoder) -> None:
    """Sets the encoder that this process uses for the job."""
    with _lock:
        _share(job, encoder)


def shared_encoder(job: Job) -> BatchEncoder:
    """Returns the job's encoder, loaded once per process, however many threads ask."""
    with _lock:
        if _key(job) not in _encoders:
            _share(job, cached_encoder(job) or _load_encoder(job))
        return _encoders[_key(job)]


def _load_encoder(job: Job) -> BatchEncoder:
    tokenizer = Tokenizer.from_bytes(
        filesystem.read(filesystem.join(job.work, CONTRACT_FILE)),
        filesystem.read(filesystem.join(job.work, WEIGHTS_FILE)),
        where=job.work,
        batch_size=job.config.batch_size,
    )
    assert job.runtime != "auto", "the runtime is selected before a job starts"
    tokenizer.use_runtime(job.runtime, job.config.precision)
    return tokenizer.encoder


def _share(job: Job, encoder: BatchEncoder) -> None:
    _encoders.clear()  # one job at a time; an old model would only take memory
    _encoders[_key(job)] = encoder


def _key(job: Job) -> tuple[str, int]:
    return job.fingerprint, job.config.batch_size
