"""Array sources: files that hold the pixels of many images as one array, labels beside."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pydantic

from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import DataError, RequestError
from pipeline.core.records import BadRecord, ImageRecord, Span, Unit
from pipeline.sources.base import NO_TIMEOUTS, no_heartbeat
from pipeline.sources.carry import Carry, carried_features
from pipeline.sources.class_folders import Classes, read_classes
from pipeline.sources.damage import read_spans
from pipeline.sources.input_files import (
    FileFacts,
    FilesConfig,
    FilesSource,
    InputFile,
    Patterns,
    facts_of,
    numbered_file,
)
from pipeline.sources.listing import ListedFile, Listing, listing_of
from pipeline.sources.stored_arrays import ArrayCursor, ArrayFormat, borrowed_array

ROWS_PER_READ = 64


class ArrayConfig(FilesConfig):
    """Base class of the configs of array sources.

    Attributes:
      carry: Arrays to carry along, by their names in the token records: of a .npz by their names
        in it, else the name of a file beside, in which `{stem}` stands for the name of the image
        file without its ending.
      classes: Names of the classes of `label`, in the order of the labels: a list, a text file
        with a name per line, or the directory of a dataset.
      damaged: Refuse a damaged or missing file, or reject each record that cannot be read.
    """

    carry: Carry = pydantic.Field(default_factory=dict)
    classes: Classes | None = None

    @property
    def member(self) -> str | None:
        """Name of the array of images in a .npz; None for its only one."""
        return None

    def open_files(self, patterns: Patterns) -> "ArraySource":
        """Returns the source that reads the files of some patterns; reads nothing yet."""
        return ArraySource(self, patterns)


class ArraySource(FilesSource[ArrayConfig]):
    """Keys are '<file>__<number>'."""

    def list(self, stride: int = 1, heartbeat: Callable[[], None] = no_heartbeat) -> Listing:
        """Lists the input; see `Source.list`."""
        config = self.config
        found = self.find(heartbeat)
        files = []
        for one in found:
            heartbeat()
            file = self._list_file(one, stride)
            if file.damage is not None and config.damaged == "refuse":
                raise DataError(
                    f"{file.path}: {file.damage}. Copy it again, or set source.damaged to 'reject'."
                )
            files.append(file)
        if not any(file.num_records for file in files):
            raise DataError(f"{files[0].path}: expected images, got none in {len(files)} file(s).")
        return listing_of(tuple(files), self._features(files, heartbeat))

    def read(
        self,
        unit: Unit,
        features: tuple[CarriedFeature, ...],
        timed_out: Mapping[int, str] = NO_TIMEOUTS,
    ) -> Iterator[ImageRecord | BadRecord]:
        """Reads the records of a unit; see `Source`."""
        return read_spans(
            unit,
            self.config.damaged,
            timed_out,
            lambda span, numbers: self._read(unit, span, numbers, features),
        )

    def _read(
        self,
        unit: Unit,
        span: Span,
        numbers: Iterator[int],
        features: Sequence[CarriedFeature],
    ) -> Iterator[ImageRecord | BadRecord]:
        first, count = span.first, span.num_records
        columns = []
        for feature in features:
            with borrowed_array(*_place_of(unit.path, feature.field), first) as labels:
                columns.append(labels.read(first, count).reshape(count).tolist())
        rows = zip(*columns, strict=True) if columns else itertools.repeat(())
        for start in range(first, first + count, ROWS_PER_READ):
            some = min(ROWS_PER_READ, first + count - start)
            with borrowed_array(unit.path, self.config.member, start) as cursor:
                _check_images(cursor.format, unit.path)
                images = cursor.read(start, some)
            for pixels, values in zip(images, rows, strict=False):
                carried = tuple(_plain(value) for value in values)
                yield ImageRecord(f"{unit.file}__{next(numbers)}", pixels, carried)

    def _list_file(self, one: InputFile, stride: int) -> ListedFile:
        facts, readable, lost, damage = FileFacts(), 0, 0, None
        try:
            facts = facts_of(one.path)
            with borrowed_array(one.path, self.config.member, 0) as cursor:
                _check_images(cursor.format, one.path)
                lost = cursor.format.shape[0]
                cursor.verify()
                readable = cursor.num_readable
                damage, lost = _damage_of(cursor)
        except OSError as error:
            damage, lost = f"expected a file that can be read, got: {error.strerror or error}", 1
        except DataError as error:
            if self.config.damaged == "refuse":
                raise
            damage = str(error).removeprefix(f"{one.path}: ").rpartition(". ")[0]
            lost = max(1, lost)
        return numbered_file(one, facts, readable, stride, lost=lost, damage=damage)

    def _features(
        self, files: Sequence[ListedFile], heartbeat: Callable[[], None]
    ) -> tuple[CarriedFeature, ...]:
        names = None if self.config.classes is None else read_classes(self.config.classes)
        kinds: dict[str, FeatureKind] = {}
        for file in (file for file in files if file.num_readable):
            for name, wanted in self.config.carry.items():
                heartbeat()
                kind = _kind_of(file, wanted.field, name, names if name == "label" else None)
                if kinds.setdefault(wanted.field, kind) != kind:
                    raise DataError(
                        f"{file.path}: expected {wanted.field!r} of type {kinds[wanted.field]} as "
                        f"in {files[0].path}, got {kind}. Save both alike."
                    )
        label = self.config.carry.get("label")
        classes = {label.field: names} if names and label else {}
        return carried_features(self.config.carry, kinds, classes)


def _place_of(path: str, field: str) -> tuple[str, str | None]:
    """Returns the file of a carried array, and its name in it if that is the .npz of the images."""
    if path.endswith(".npz"):
        return path, field
    folder, slash, name = path.rpartition("/")
    stem = name.removesuffix(".gz").rpartition(".")[0] or name
    return f"{folder}{slash}{field.replace('{stem}', stem)}", None


def _check_images(found: ArrayFormat, path: str) -> None:
    shape, dtype = found.shape, found.dtype
    got = f"{dtype} {list(shape)}"
    if dtype != np.uint8:
        scale = " A float array in [0, 1]: (x * 255).round().astype('uint8')."
        advice = f"Convert it.{scale if dtype.kind == 'f' else ''}"
    elif found.fortran_order:
        got, advice = f"{got} in Fortran order", "Save np.ascontiguousarray(x)."
    elif len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        got, advice = f"{got}, channels first", "Save np.transpose(x, (0, 2, 3, 1))."
    elif len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        advice = "Save it in this shape, with 1 or 3 channels."
    elif 0 in shape[1:]:
        advice = "Save images that have pixels."
    else:
        return
    raise RequestError(
        f"{path}: expected images as uint8 [N, H, W, C] or [N, H, W], got {got}. {advice}"
    )


def _damage_of(cursor: ArrayCursor) -> tuple[str | None, int]:
    count, readable = cursor.format.shape[0], cursor.num_readable
    if readable < count:
        return f"expected {count:,} images as its header says, got {readable:,}", count - readable
    if cursor.spare_bytes:
        return (
            f"expected {count:,} images as its header says, got {cursor.spare_bytes:,} bytes more",
            1,
        )
    return None, 0


def _kind_of(
    file: ListedFile, field: str, name: str, classes: tuple[str, ...] | None
) -> FeatureKind:
    path, member = _place_of(file.path, field)
    key = f"source.carry.{name}"
    try:
        with borrowed_array(path, member, 0) as cursor:
            shape, dtype = cursor.format.shape, cursor.format.dtype
            wanted = cursor.format.shape[0] if file.damage else file.num_readable
            if shape not in ((wanted,), (wanted, 1)):
                raise RequestError(
                    f"{key}: expected a value for each of the {wanted:,} images of {file.path}, "
                    f"got {list(shape)} in {field!r}. Name another array."
                )
            if classes is not None:
                _check_labels(cursor.read(0, shape[0]), classes, path)
    except OSError as error:
        raise RequestError(
            f"{key}: expected an array in {path}, got: {error.strerror or error}. Check the name."
        ) from error
    kinds: dict[str, FeatureKind] = {"b": "int64", "i": "int64", "u": "int64", "f": "float32"}
    kind = kinds.get(dtype.kind, "bytes" if dtype.kind in "SU" else None)
    if kind is None or dtype == np.uint64:
        raise RequestError(
            f"{key}: expected numbers or text in {field!r} of {path}, got {dtype}. Leave it out."
        )
    return kind


def _check_labels(labels: np.ndarray, classes: tuple[str, ...], path: str) -> None:
    if (
        labels.dtype.kind not in "iub"
        or labels.min(initial=0) < 0
        or (labels.max(initial=0) >= len(classes))
    ):
        raise RequestError(
            f"{path}: expected labels in [0, {len(classes)}), a number for each of source.classes, "
            f"got {labels.dtype} from {labels.min(initial=0)} to {labels.max(initial=0)}."
        )


def _plain(value: Any) -> int | float | bytes:
    if isinstance(value, bool):
        return int(value)
    found: int | float | bytes = value.encode() if isinstance(value, str) else value
    return found
