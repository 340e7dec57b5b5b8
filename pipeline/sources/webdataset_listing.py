"""Listing of WebDataset tars: the offsets of their samples, by reading headers only."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fsq.dataset.records import encode_key
from fsq.errors import DataError
from pipeline.sources.equal_keys import refuse_equal_keys
from pipeline.sources.input_files import Damaged, FileFacts, InputFile, facts_of
from pipeline.sources.listing import ListedFile
from pipeline.sources.tar_files import TarCursor
from pipeline.sources.tar_members import DamagedTarError

MAX_KEYS = 10_000
_ADVICE = "Copy it again, or set source.damaged to 'reject' to reject what cannot be read."


def list_tars(
    found: Sequence[InputFile],
    damaged: Damaged,
    stride: int,
    left_out: Counter[str],
    heartbeat: Callable[[], None],
    *,
    named: bool,
) -> tuple[ListedFile, ...]:
    """Scans tars for the offsets of their samples.

    Args:
      found: The archives.
      damaged: Whether to refuse a damaged one.
      stride: See `Source.list`.
      left_out: Counts the members that are no part of a sample.
      heartbeat: See `Source.list`.
      named: Whether samples have their names as keys, which must differ.

    Raises:
      DataError: An archive is damaged, none has a sample, or two keys are equal.
    """
    files = []
    keys: list[tuple[bytes, str, int]] = []
    for one in found:
        scan = _Scan(one, stride, left_out)
        scan.run(heartbeat, keys if named else None)
        if scan.damage is not None and damaged == "refuse":
            raise DataError(f"{one.path}: {scan.damage}. {scan.advice}")
        files.append(scan.listed())
    if not any(file.num_readable for file in files):
        raise DataError(f"{files[0].path}: expected samples, got none in {len(files)} file(s).")
    refuse_equal_keys(keys)
    return tuple(files)


class _Scan:
    """The scan of one archive.

    Attributes:
      damage: Why it cannot be read to its end; None if it can.
      advice: What to do about it.
    """

    def __init__(self, one: InputFile, stride: int, left_out: Counter[str]):
        self._one, self._stride, self._left_out = one, stride, left_out
        self._facts, self._count = FileFacts(), 0
        self._offsets: list[int] = []
        # Over names and sizes of the members.
        self._hash = hashlib.blake2b(digest_size=16)
        self.damage: str | None = None
        self.advice = _ADVICE

    def run(self, heartbeat: Callable[[], None], keys: list[tuple[bytes, str, int]] | None) -> None:
        """Scans the archive; adds the keys of its first samples."""
        path = self._one.path
        heartbeat()
        try:
            self._facts = facts_of(path)
            for number, key in enumerate(self._samples(heartbeat)):
                if keys is not None and len(keys) < MAX_KEYS:
                    keys.append((key, path, number))
        except DamagedTarError as error:
            self.damage = f"sample {self._count}: {error}"
        except OSError as error:
            reason = error.strerror or error
            self.damage = f"expected a file that can be read, got: {reason}"
        except DataError as error:
            self.damage, _, advice = str(error).removeprefix(f"{path}: ").rpartition(". ")
            self.advice = advice or _ADVICE

    def _samples(self, heartbeat: Callable[[], None]) -> Iterator[bytes]:
        cursor = TarCursor(self._one.path)
        try:
            for sample in cursor.samples(self._left_out):
                heartbeat()
                if self._count % self._stride == 0:
                    self._offsets.append(sample.offset)
                self._count += 1
                members = [(part.suffix, part.member.size) for part in sample.parts]
                self._hash.update(repr((sample.key, members)).encode("utf-8", "surrogateescape"))
                yield encode_key(sample.key)
        finally:
            cursor.close()

    def listed(self) -> ListedFile:
        """Returns what was found."""
        return ListedFile(
            path=self._one.path,
            name=self._one.name,
            size_bytes=self._facts.size_bytes,
            modified_ns=self._facts.modified_ns,
            num_readable=self._count,
            offsets=np.array(self._offsets, np.int64),
            stride=self._stride,
            # How many samples are lost is not known.
            num_unreadable=0 if self.damage is None else 1,
            damage=self.damage,
            split=self._one.split,
            digest=self._hash.hexdigest(),
        )
