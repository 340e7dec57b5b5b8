"""Registry of shard formats: one module and one entry per format."""

from collections.abc import Iterable

from fsq.dataset.formats.array_record import ARRAY_RECORD
from fsq.dataset.formats.base import RecordReader, ShardFormat, ShardWriter, WrittenFile
from fsq.dataset.formats.tfrecord import TFRECORD

FORMATS: dict[str, ShardFormat] = {
    TFRECORD.name: TFRECORD,
    ARRAY_RECORD.name: ARRAY_RECORD,
}
# Every dataset has this format, because tensorflow-datasets reads it by default.
PRIMARY = TFRECORD

__all__ = [
    "FORMATS",
    "PRIMARY",
    "RecordReader",
    "ShardFormat",
    "ShardWriter",
    "WrittenFile",
    "check_formats",
    "show_formats",
]


def check_formats(names: Iterable[str]) -> tuple[str, ...]:
    """Returns format names in the order of the registry, the primary one first.

    Raises:
      ValueError: A name is unknown or repeated, or the primary format is missing.
    """
    wanted = list(names)
    if PRIMARY.name not in wanted or len(set(wanted)) != len(wanted) or set(wanted) - set(FORMATS):
        others = ", ".join(name for name in FORMATS if name != PRIMARY.name)
        raise ValueError(
            f"expected {PRIMARY.name} and optionally {others}, each once, got {wanted}"
        )
    return tuple(name for name in FORMATS if name in wanted)


def show_formats(names: Iterable[str]) -> str:
    """Names formats for a message.

    >>> show_formats(["tfrecord", "array_record"])
    'as TFRecord and as ArrayRecord'
    """
    return " and ".join(f"as {FORMATS[name].title}" for name in names)
