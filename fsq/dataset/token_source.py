"""Dataset reader with random access: single records, from ArrayRecord files."""

import bisect
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

import numpy as np

from fsq.dataset.argument_checks import check_directory, check_flag, check_index
from fsq.dataset.block_reader import as_array
from fsq.dataset.example.decoder import OtherRecordError, parse_record, parse_records
from fsq.dataset.formats import FORMATS, RecordReader
from fsq.dataset.open_dataset import DAMAGED, open_dataset, unreadable
from fsq.dataset.records import GRID
from fsq.dataset.sequence import SequenceSpec, layouts_of
from fsq.errors import DataError, RequestError
from fsq.quantizer import lattice
from fsq.storage import filesystem

# The format with random access to records.
FORMAT = next(each for each in FORMATS.values() if each.open_reader is not None)
# For fewer records, vectorized parsing is slower than parsing one by one.
MIN_VECTORIZED_RECORDS = 32


class TokenSource:
    """The records of a dataset, `source[index]`, in the order of the shards.

    A Grain data source and a PyTorch dataset: the caller chooses the order.
    Imports neither TensorFlow nor Beam. Needs `output.formats: [tfrecord,
    array_record]`. It can be pickled, and is thread-safe.

    Args: as in `TokenBatches`, except
      directory: Path of the dataset, on a local disk.
      sequence: One image per sequence: `length` must be None.

    Raises: what `TokenBatches` raises.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        split: str | None = None,
        *,
        sequence: SequenceSpec | None = None,
        with_labels: bool = False,
    ):
        directory = check_directory(directory)
        with_labels = check_flag("with_labels", with_labels)
        if not filesystem.is_local(directory):
            raise RequestError(
                f"{directory}: expected a local directory, because {FORMAT.title} files cannot be "
                "read elsewhere. Copy it, or read it with TokenBatches."
            )
        if sequence is not None and sequence.length is not None:
            raise RequestError(
                "sequence.length: expected None, because TokenSource does not pack images, "
                f"got {sequence.length}. Pack them with TokenBatches."
            )
        self._dataset = open_dataset(directory, split, shard_format=FORMAT)
        self.contract = self._dataset.contract
        self._layouts = layouts_of(sequence, self._dataset, with_labels=with_labels)
        self._layout = next(iter(self._layouts.values()), None)
        self.vocab_size = self._layout.vocab_size if self._layout else self.contract.vocab_size
        self._dtype = lattice.token_dtype(self.vocab_size)
        wanted = self._layout.wanted if self._layout else self._dataset.names
        self._wanted = frozenset([*wanted, GRID] if self.contract.buckets else wanted)
        # Index of each shard's first record; at the end, the number of records.
        self._starts = [0, *itertools.accumulate(self._dataset.records)]
        self._arguments = f"sequence={sequence!r}, with_labels={with_labels!r}"
        self._readers: dict[int, RecordReader] = {}

    def __len__(self) -> int:
        """Number of records in the dataset."""
        return self._starts[-1]

    def __getitem__(self, number: SupportsIndex) -> dict[str, Any]:
        """Reads a record.

        Returns:
          Without a sequence: 'tokens' int32 (int64 above 2**31 codes) [rows * columns],
          'key' and 'view' bytes, 'crop' int64 [4], 'flip' int, and the carried features.
          With one: 'tokens' [length], and with labels 'label', an integer.
          In a dataset with buckets, 'grid' int64 [2], rows and columns, comes with either.

        Raises:
          IndexError: There is no such record.
          RequestError: The index is not an integer.
          DataError: A shard is damaged.
        """
        path, number_in_shard, data = self._read(number)
        where = f"{path}: record {number_in_shard}"
        try:
            found = parse_record(data, self._dataset.fields, self._wanted)
        except OtherRecordError as error:
            raise DataError(f"{where}: {error}. {DAMAGED}") from error
        grid = self._grid_of(found, where)
        if self.contract.buckets:
            stored = as_array([found["tokens"]])
            found["tokens"] = self._dataset.grid_tokens(stored, grid, where)[0]
        else:
            found["tokens"] = self._dataset.tokens_of(found["tokens"], where)
        if self._layouts:
            rows = {name: _column(value) for name, value in found.items() if name != GRID}
            (record,) = _split(self._layouts[grid].lay_out(rows))
            return {**record, GRID: np.array(grid, np.int64)} if self.contract.buckets else record
        found["tokens"] = found["tokens"].astype(self._dtype)
        for name in ("crop", "source_size", GRID):
            if name in found:  # not in what older versions wrote
                found[name] = np.array(found[name], np.int64)
        return found

    def __getitems__(self, numbers: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """Reads several records, faster than one by one; PyTorch and Grain loaders call it."""
        if len(numbers) < MIN_VECTORIZED_RECORDS or self.contract.buckets:
            return [self[number] for number in numbers]
        pieces = [self._read(number)[-1] for number in numbers]
        lengths = np.array([len(piece) for piece in pieces])
        ends = np.cumsum(lengths)
        try:
            columns = parse_records(
                b"".join(pieces), ends - lengths, ends, self._dataset.fields, self._wanted
            )
            columns["tokens"] = self._dataset.tokens_of(columns["tokens"], "")
        except (OtherRecordError, DataError):
            return [self[number] for number in numbers]  # the error names the damaged record
        if self._layout is not None:
            rows = {name: as_array(values) for name, values in columns.items()}
            return _split(self._layout.lay_out(rows))
        columns["tokens"] = columns["tokens"].astype(self._dtype)
        return _split(columns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            yield self[number]

    def __repr__(self) -> str:
        # Grain compares this when it restores a position: equal if the records are equal.
        return f"TokenSource({self._dataset.identity}, {self._arguments})"

    def __getstate__(self) -> dict[str, Any]:
        # Each process of a data loader opens its own files.
        return {**self.__dict__, "_readers": {}}

    def _grid_of(self, record: dict[str, Any], where: str) -> tuple[int, int]:
        """Returns rows and columns of a parsed record.

        Raises:
          DataError: They are those of no bucket.
        """
        if not self.contract.buckets:
            return self.contract.grid
        rows, columns = record[GRID]
        if (rows, columns) not in self.contract.grids:
            raise DataError(
                f"{where}: expected a grid of {self.contract.show_grid} tokens, got {rows} x "
                f"{columns}. {DAMAGED}"
            )
        return rows, columns

    def _read(self, number: SupportsIndex) -> tuple[str, int, bytes]:
        """Returns the file of a record, its index in it, and its bytes."""
        number = check_index("TokenSource", number, len(self))
        shard = bisect.bisect_right(self._starts, number) - 1
        path, number_in_shard = self._dataset.paths[shard], number - self._starts[shard]
        (data,) = self._reader(shard).read(number_in_shard, number_in_shard + 1)
        return path, number_in_shard, data

    def _reader(self, shard: int) -> RecordReader:
        reader = self._readers.get(shard)
        if reader is None:
            path, expected = self._dataset.paths[shard], self._dataset.records[shard]
            assert FORMAT.open_reader is not None
            try:
                reader = FORMAT.open_reader(path, path)
            except OSError as error:
                raise unreadable(path, error) from error
            if (found := reader.num_records()) != expected:
                raise DataError(f"{path}: expected {expected:,} records, got {found:,}. {DAMAGED}")
            self._readers[shard] = reader
        return reader


def _column(value: Any) -> np.ndarray:
    """Makes a column of one row."""
    return as_array([value]) if isinstance(value, bytes) else np.asarray(value)[None]


def _split(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Splits columns into a dict per row; scalars become Python numbers."""
    rows = [
        v.tolist() if isinstance(v, np.ndarray) and v.ndim == 1 else v for v in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*rows, strict=True)]
