"""Fields of WebDataset samples: images, carried members, and values inside JSON."""

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import DataError
from pipeline.sources.carry import Carry, carried_features
from pipeline.sources.listing import ListedFile
from pipeline.sources.tar_files import borrowed_tar
from pipeline.sources.tar_samples import Sample

# What the types of JSON values are told from.
MAX_FILES, MAX_SAMPLES = 100, 1000
# As the webdataset library decodes them.
INTEGERS = frozenset({"cls", "cls2", "class", "count", "index", "inx", "id"})
_INT64 = range(-(2**63), 2**63)


class SampleFields(NamedTuple):
    """What is read of a sample.

    Attributes:
      images: Suffixes of images.
      carried: Carried features; a field is a suffix, or a suffix and a path inside JSON.
      named: Whether the key is the name of the sample.
    """

    images: frozenset[str]
    carried: tuple[CarriedFeature, ...]
    named: bool

    @property
    def suffixes(self) -> frozenset[str]:
        """The suffixes of the members to read."""
        return self.images | {suffix_of(one.field) for one in self.carried}


class BadSampleError(ValueError):
    """A sample that is rejected; the message says why."""


def suffix_of(field: str) -> str:
    """Returns the suffix of the member that a field is in, in lower case.

    >>> suffix_of("json.width"), suffix_of("seg.png"), suffix_of("TXT")
    ('json', 'seg.png', 'txt')
    """
    return "json" if field.lower().startswith("json.") else field.lower()


def image_of(sample: Sample, images: frozenset[str]) -> bytes:
    """Returns the image of a sample.

    Raises:
      BadSampleError: There is none or more than one, or the sample is not to be trusted.
    """
    suffixes = [part.suffix for part in sample.parts]
    if twice := sorted({suffix for suffix in suffixes if suffixes.count(suffix) > 1}):
        raise BadSampleError(f"expected each suffix once in a sample, got '.{twice[0]}' twice")
    folders = sample.key.split("/")
    if ".." in folders or folders[0] == "":
        raise BadSampleError("expected a name inside the archive, got an absolute one or '..'")
    found = [part for part in sample.parts if part.suffix in images]
    if not found:
        raise BadSampleError(
            f"expected an image in the sample, got {', '.join(f'.{one}' for one in suffixes)[:100]}"
        )
    if len(found) > 1:
        names = " and ".join(f".{part.suffix}" for part in found)
        raise BadSampleError(f"expected one image in the sample, got {names}")
    assert found[0].content is not None
    return found[0].content


def carried_of(sample: Sample, features: Sequence[CarriedFeature]) -> tuple[Any, ...]:
    """Returns the carried values of a sample.

    Raises:
      BadSampleError: One is missing or of another type.
    """
    contents = {part.suffix: part.content for part in sample.parts}
    return tuple(_convert(_value(contents, one.field), one) for one in features)


def find_features(
    files: Sequence[ListedFile], carry: Carry, heartbeat: Callable[[], None]
) -> tuple[CarriedFeature, ...]:
    """Returns the carried features; types of JSON values are those of the first samples.

    Raises:
      RequestError: A field is in none of the samples that are looked at.
    """
    fields = {one.field for one in carry.values()}
    seen: dict[str, list[Any]] = {field: [] for field in fields}
    readable = [file for file in files if file.num_readable][:MAX_FILES]
    most = math.ceil(MAX_SAMPLES / max(1, len(readable)))
    suffixes = frozenset(map(suffix_of, fields))
    for file in readable if fields else ():
        # Damage is refused or rejected when the unit is read.
        with (
            contextlib.suppress(DataError, OSError),
            borrowed_tar(file.path, 0, suffixes) as cursor,
        ):
            for sample in itertools.islice(cursor.read(0, 0, suffixes.__contains__), most):
                heartbeat()
                contents = {part.suffix: part.content for part in sample.parts}
                for field, values in seen.items():
                    with contextlib.suppress(BadSampleError):
                        if (value := _value(contents, field)) is not None:
                            values.append(value)
    kinds = {field: _kind(field, values) for field, values in seen.items() if values}
    # A declared type decides: members are text, which can be read as any.
    kinds |= {
        one.field: one.type for one in carry.values() if one.type and suffix_of(one.field) != "json"
    }
    return carried_features(carry, kinds)


def _kind(field: str, values: Sequence[Any]) -> FeatureKind:
    if suffix_of(field) != "json":
        return "int64" if field.lower() in INTEGERS else "bytes"
    if all(isinstance(value, int) for value in values):
        return "int64"
    return "float32" if all(isinstance(value, int | float) for value in values) else "bytes"


def _value(contents: Mapping[str, bytes | None], field: str) -> Any:
    """Returns the value of a field, bytes or what JSON has there; None if there is none."""
    data = contents.get(suffix_of(field))
    if data is None or suffix_of(field) == field.lower():
        return data
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSampleError("expected JSON in the member .json, got other bytes") from error
    for name in field.split(".")[1:]:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _convert(value: Any, feature: CarriedFeature) -> int | float | bytes:
    if value is None:
        if (default := feature.default_value) is not None:
            return default
        raise BadSampleError(f"expected a value of {feature.field!r}, got none")
    try:
        match feature.kind:
            case "int64" if isinstance(value, int | bytes) and int(value) in _INT64:
                return int(value)
            case "float32" if isinstance(value, int | float | bytes):
                with np.errstate(over="ignore"):
                    found = float(np.float32(float(value)))
                if not math.isinf(found) or math.isinf(float(value)):
                    return found
            case "bytes" if isinstance(value, str | bytes):
                return value.encode() if isinstance(value, str) else value
    except (ValueError, OverflowError):
        pass
    raise BadSampleError(f"expected {feature.kind} in {feature.field!r}, got {str(value)[:60]!a}")
