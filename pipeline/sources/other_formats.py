"""Other formats that a pattern for TFRecords may catch, told by their first bytes."""

import contextlib
import tarfile
import zlib
from typing import NamedTuple

from fsq.images import signatures

HEAD_BYTES = 512

_UNPACK = "Unpack it first."
_CONVERT = (
    "Write its images as TFRecords, or as files for source.kind image_folder; or leave it out of "
    "source.files."
)
_UNTAR = "Unpack it and use source.kind image_folder, or leave it out of source.files."
_FOLDER = "Use source.kind image_folder, or leave it out of source.files."
_LEAVE = "Leave it out of source.files."


class OtherFormat(NamedTuple):
    """A format by its name, and what to do with a file of it."""

    name: str
    advice: str


# By the bytes at the begin of a file; the images are told by fsq.images.signatures.
_SIGNATURES = {
    b"\x1f\x8b": OtherFormat("GZIP", _UNPACK),
    b"BZh": OtherFormat("bzip2", _UNPACK),
    b"\xfd7zXZ\0": OtherFormat("xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": OtherFormat("Zstandard", _UNPACK),
    b"\x04\x22\x4d\x18": OtherFormat("LZ4", _UNPACK),
    b"\xff\x06\0\0sNaPpY": OtherFormat("Snappy", _UNPACK),
    b"PK\x03\x04": OtherFormat("a ZIP archive", _UNTAR),
    b"PK\x05\x06": OtherFormat("an empty ZIP archive", _LEAVE),
    b"7z\xbc\xaf\x27\x1c": OtherFormat("a 7z archive", _UNTAR),
    b"Rar!\x1a\x07": OtherFormat("a RAR archive", _UNTAR),
    b"PAR1": OtherFormat("Parquet", _CONVERT),
    b"PARE": OtherFormat("encrypted Parquet", _CONVERT),
    b"ARROW1": OtherFormat("an Arrow file", _CONVERT),
    b"\xff\xff\xff\xff": OtherFormat("an Arrow stream", _CONVERT),
    b"FEA1": OtherFormat("Feather", _CONVERT),
    b"ORC": OtherFormat("ORC", _CONVERT),
    b"Obj\x01": OtherFormat("Avro", _CONVERT),
    b"SEQ": OtherFormat("a Hadoop SequenceFile", _CONVERT),
    b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f": OtherFormat("ArrayRecord or Riegeli", _CONVERT),
    b"\x0a\x23\xd7\xce": OtherFormat("an MXNet RecordIO file", _CONVERT),
    b"\x89HDF\r\n\x1a\n": OtherFormat("HDF5", _CONVERT),
    b"\x93NUMPY": OtherFormat("a NumPy array", _CONVERT),
    b"SQLite format 3\0": OtherFormat("an SQLite database", _CONVERT),
    b"\0\0\x08": OtherFormat("an IDX file, as of MNIST", _CONVERT),
    **dict.fromkeys(
        (b"\x80\x02}", b"\x80\x03}", b"\x80\x04\x95", b"\x80\x05\x95"),
        OtherFormat("a Python pickle", _CONVERT),
    ),
    b"version https://git-lfs": OtherFormat(
        "a pointer of Git LFS", "Fetch the file itself with 'git lfs pull'."
    ),
}
_ARROW_METADATA_BYTES = 1 << 24  # far more than a schema takes
_LMDB_MAGIC, _LMDB_AT = b"\xde\xc0\xef\xbe", 16


def other_format(head: bytes) -> OtherFormat | None:
    r"""Returns the format of a file that is no TFRecord; None if it is none of those known.

    Args:
      head: The first `HEAD_BYTES` of the file, or all of it.

    >>> other_format(b"PAR1\x15\x04").name
    'Parquet'
    """
    for signature, found in _SIGNATURES.items():
        if head.startswith(signature) and (found.name != "an Arrow stream" or _is_arrow(head)):
            return found
    if head[_LMDB_AT:].startswith(_LMDB_MAGIC):
        return OtherFormat("an LMDB database", _CONVERT)
    if _is_tar(head):
        return OtherFormat("a tar archive", _UNTAR)
    if (image := signatures.format_of(head)) is not None:
        return OtherFormat(f"a file of {image}", _FOLDER)
    if _is_zlib(head):
        return OtherFormat("ZLIB", _UNPACK)
    return OtherFormat("text", _LEAVE) if _is_text(head) else None


def _is_arrow(head: bytes) -> bool:
    return 0 < int.from_bytes(head[4:8], "little") < _ARROW_METADATA_BYTES


def _is_tar(head: bytes) -> bool:
    """Returns whether this is a header of any kind of tar, whose checksum is right."""
    with contextlib.suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return True
    return False


def _is_zlib(head: bytes) -> bool:
    """Returns whether the bytes decompress, header and what follows."""
    with contextlib.suppress(zlib.error):
        return len(zlib.decompressobj().decompress(head)) > 0
    return False


def _is_text(head: bytes) -> bool:
    if len(head) < 4:
        return False
    # A character may be cut in two at the end.
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    return bool(text) and all(char.isprintable() or char.isspace() for char in text)
