"""Members of tar archives: their names and places, read header by header.

The standard library's `tarfile` knows all kinds of headers, but takes longer for one than a small
image takes to decode, and ends in silence at a damaged one. So the two kinds that nearly all
members have, a plain header and one after a pax header, are read here; any other is left to it.

Source: POSIX.1-2008, "pax Interchange Format" and "ustar Interchange Format".
"""

import io
import re
import tarfile
from typing import BinaryIO, Literal, NamedTuple

from fsq.errors import DataError

BLOCK = 512
_MAGIC = (b"ustar\x0000", b"ustar  \x00")
_OCTAL = re.compile(rb" *([0-7]+)[ \x00]*")
_RECORD = re.compile(rb"([0-9]{1,9}) ([^=]+)=")
# What else a pax header says of a file does not matter here.
_IGNORED = {b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"}
_MOST_PAX_BYTES = 1 << 16
# No image is as large: a header that says so is damaged.
_MOST_CONTENT_BYTES = 1 << 31
_LAST_OFFSET = 2**63 - 1


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
      name: Its name; bytes that are not UTF-8 as surrogate escapes.
      kind: Whether it is a regular file, a folder, or anything else, such as a link.
      offset: Byte offset of its first header.
      data: Byte offset of its content.
      size: Size of its content, in bytes.
    """

    name: str
    kind: Literal["file", "folder", "other"]
    offset: int
    data: int
    size: int

    @property
    def end(self) -> int:
        """Byte offset of the next header."""
        return self.data + -(-self.size // BLOCK) * BLOCK


class DamagedTarError(DataError):
    """A header or the content of a member cannot be read; the message says what was found."""


def read_member(file: BinaryIO, offset: int) -> Member | None:
    """Reads the header at an offset; None at the end of the archive.

    Raises:
      DamagedTarError: There is no header.
      OSError: The file cannot be read.
    """
    file.seek(offset)
    member = _read_common(file, offset) or _read_any(file, offset)
    if member is not None and member.end > _LAST_OFFSET:
        raise DamagedTarError(
            f"byte {offset:,}: expected the size of a file, got {member.size:,} bytes"
        )
    return member


def read_content(file: BinaryIO, member: Member) -> bytes:
    """Reads the content of a member.

    Raises:
      DamagedTarError: The archive ends in it.
      OSError: The file cannot be read.
    """
    if member.size > _MOST_CONTENT_BYTES:
        raise DamagedTarError(
            f"byte {member.data:,}: expected at most {_MOST_CONTENT_BYTES:,} bytes of "
            f"{member.name!r}, got {member.size:,}"
        )
    file.seek(member.data)
    data = file.read(member.size)
    if len(data) != member.size:
        raise cut_short(member, len(data))
    return data


def cut_short(member: Member, size_bytes: int) -> DamagedTarError:
    """Returns the error for a member of which only some bytes are there."""
    return DamagedTarError(
        f"byte {member.data:,}: expected {member.size:,} bytes of {member.name!r}, got "
        f"{size_bytes:,}, the end of the file"
    )


def _read_common(file: BinaryIO, offset: int) -> Member | None:
    """Reads a plain header, or one after a pax header; None if it is another."""
    block = file.read(BLOCK)
    name, size, data = None, None, offset + BLOCK
    if block[156:157] == b"x" and _is_header(block):
        pax_size = _octal(block[124:136])
        if pax_size is None or pax_size > _MOST_PAX_BYTES:
            return None
        padded = -(-pax_size // BLOCK) * BLOCK
        records = _pax_records(file.read(padded)[:pax_size])
        if records is None:
            return None
        name, size = records
        block = file.read(BLOCK)
        data += padded + BLOCK
    if block[156:157] not in (b"0", b"\0") or not _is_header(block):
        return None
    if size is None:
        size = _octal(block[124:136])
    if name is None:
        name = _text(block[:100])
        prefix = _text(block[345:500])
        name = prefix + b"/" + name if prefix else name
    if size is None or not name or name.endswith(b"/"):
        return None
    return Member(name.decode("utf-8", "surrogateescape"), "file", offset, data, size)


def _is_header(block: bytes) -> bool:
    if len(block) != BLOCK or block[257:265] not in _MAGIC:
        return False
    # The field of the checksum counts as spaces.
    return _octal(block[148:156]) == sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _octal(field: bytes) -> int | None:
    match = _OCTAL.fullmatch(field)
    return None if match is None else int(match[1], 8)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _pax_records(content: bytes) -> tuple[bytes | None, int | None] | None:
    """Returns name and size if a pax header has them; None if it says something unusual."""
    name = size = None
    place = 0
    while place < len(content):
        match = _RECORD.match(content, place)
        if match is None:
            return None
        end = place + int(match[1])
        value = content[match.end() : end - 1]
        if content[end - 1 : end] != b"\n" or end > len(content):
            return None
        match match[2]:
            case b"path":
                name = value
            case b"size" if value.isdigit() and len(value) <= 20:
                size = int(value)
            case other if other not in _IGNORED:
                return None
        place = end
    return name, size


def _read_any(file: BinaryIO, offset: int) -> Member | None:
    archive = tarfile.TarFile(fileobj=io.BytesIO(bytes(2 * BLOCK)))
    archive.fileobj, archive.offset = file, offset
    archive.encoding, archive.errors = "utf-8", "surrogateescape"
    file.seek(offset)
    try:
        found = tarfile.TarInfo.fromtarfile(archive)
    except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
        return None  # whoever wrote the archive did not finish it, or left out its end
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        _check_end(file, offset)
        return None
    except tarfile.HeaderError as error:
        raise DamagedTarError(
            f"byte {offset:,}: expected the header of a member, got other bytes ({error})"
        ) from error
    # On damaged headers its parsers raise what Python's own raise.
    except (ValueError, IndexError, OverflowError, KeyError, UnicodeError) as error:
        raise DamagedTarError(
            f"byte {offset:,}: expected the header of a member, got other bytes"
        ) from error
    if found.issparse():
        raise DamagedTarError(
            f"byte {offset:,}: expected plain files, got a sparse one, {found.name!r}"
        )
    size = found.size if found.isreg() else archive.offset - found.offset_data
    kind: Literal["file", "folder", "other"] = "other"
    if found.isreg() or found.isdir():
        kind = "file" if found.isreg() else "folder"
    return Member(found.name, kind, offset, found.offset_data, max(0, size))


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raises a DamagedTarError if there is more after the block of zeros that ends an archive."""
    file.seek(offset)
    while rest := file.read(1 << 20):
        if rest.strip(b"\0"):
            raise DamagedTarError(
                f"byte {offset:,}: expected the end of the archive after a block of zeros, got "
                "more (archives that were joined have to be copied into one)"
            )
