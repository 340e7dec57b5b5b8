"""Values of a manifest: the types of its columns, and cells converted to these."""

import math
import re
from collections.abc import Iterable

from fsq.dataset.records import FeatureKind

# What a cell or a field holds: text for CSV, whatever JSON or Parquet have.
Value = object
INT64 = range(-(2**63), 2**63)
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
# As programs write them: '007' and '+1' are names, whose characters would be lost.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")


class OtherValueError(ValueError):
    """A value that the type of its column cannot hold; the message is the reason."""


def kind_of_cell(text: str) -> FeatureKind:
    """Returns the type of the text in a cell of a CSV file.

    >>> [kind_of_cell(text) for text in ("-3", "0.5", "1e3", "007", "1,5", "nan", "9" * 19)]
    ['int64', 'float32', 'float32', 'bytes', 'bytes', 'bytes', 'bytes']
    """
    if _INTEGER.fullmatch(text):
        return "int64" if int(text) in INT64 else "bytes"
    if text[-1:].isdigit() or text.endswith("."):
        match = _NUMBER.fullmatch(text)
        if match and any(map(str.isdigit, text)) and abs(float(text)) <= _LARGEST_FLOAT32:
            return "float32"
    return "bytes"


def kind_of_value(value: Value) -> FeatureKind | None:
    """Returns the type of a value of JSON; None if it is a list or an object."""
    match value:
        case bool() | int():
            return "int64"
        case float():
            return "float32"
        case str() | bytes():
            return "bytes"
    return None


def common_kind(kinds: Iterable[FeatureKind]) -> FeatureKind | None:
    """Returns the type that holds values of all of some types; None if there are none.

    >>> common_kind(["int64", "float32"]), common_kind(["int64", "bytes"])
    ('float32', 'bytes')
    """
    found = set(kinds)
    if not found:
        return None
    return "bytes" if "bytes" in found else "float32" if "float32" in found else "int64"


def converted(value: Value, kind: FeatureKind) -> int | float | str:
    """Converts a value to a type, if nothing is lost by it.

    Returns:
      An integer, a finite number, or text; bytes that are no UTF-8 as surrogates.

    Raises:
      OtherValueError: The type cannot hold it.
    """
    match kind:
        case "int64":
            return _integer(value)
        case "float32":
            return _number(value)
        case "bytes":
            return _text(value)


def _integer(value: Value) -> int:
    if isinstance(value, str):
        try:
            value = int(value) if _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            value = None
    if isinstance(value, float):
        # Integers with missing values beside them are often written as '3.0'.
        value = int(value) if value.is_integer() and abs(value) <= 2**53 else None
    if not isinstance(value, int) or value not in INT64:
        raise OtherValueError("expected an int64")
    return int(value)


def _number(value: Value) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LARGEST_FLOAT32:
        raise OtherValueError("expected a finite float32")
    return number


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise OtherValueError("expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise OtherValueError("expected text in UTF-8") from error
    return value
