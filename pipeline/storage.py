"""Files, local or wherever Beam's FileSystems reach (gs://, s3://, ...).

Local paths go straight to the operating system: Beam's matching would read
brackets in a path as a pattern, and importing it takes a second.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from fsq.errors import RequestError


class FileEntry(NamedTuple):
    """A file's name, relative to the folder listed, and its size."""

    name: str
    size_bytes: int


def is_local(path: str) -> bool:
    return "://" not in path


def join(folder: str, *names: str) -> str:
    """Joins with '/', which every file system here understands."""
    return "/".join([folder.rstrip("/") or "/", *names])


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading, seekable and never decompressed.

    Raises:
      OSError: There is no such file, or it cannot be read.
    """
    if is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return _filesystems(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read(path: str) -> bytes:
    with open_read(path) as file:
        return file.read()


def write(path: str, data: bytes) -> None:
    """Writes a whole file: first under a temporary name, then renamed."""
    temporary = temporary_name(path)
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
    else:
        from apache_beam.io.filesystem import CompressionTypes

        with _filesystems(temporary).create(
            temporary, compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            file.write(data)
    rename(temporary, path)


def temporary_name(path: str) -> str:
    """Returns a hidden sibling of the path; one writer at a time per path."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.tmp")


def rename(source: str, target: str) -> None:
    """Moves a file onto another name, replacing what was there."""
    if is_local(source):
        os.replace(source, target)
    else:
        _filesystems(source).rename([source], [target])


def exists(path: str) -> bool:
    return os.path.exists(path) if is_local(path) else _filesystems(path).exists(path)


def list_files(folder: str, *, recursive: bool = False) -> list[FileEntry]:
    """Lists the files in a folder, sorted by name; empty if there is no such folder.

    Links are not followed.
    """
    return sorted(_walk(folder, "", recursive) if is_local(folder) else _match(folder, recursive))


def glob(pattern: str) -> list[str]:
    """Lists the files whose name fits; '*' and '?' stand in the last part of the path only.

    Sorted. An empty list if none fits.
    """
    folder, _, last = pattern.rpartition("/")
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in last)
    fits = re.compile("".join(parts), re.DOTALL)
    prefix = f"{folder}/" if "/" in pattern else ""
    return [
        prefix + entry.name
        for entry in list_files(folder or ("/" if prefix else "."))
        if fits.fullmatch(entry.name) and not entry.name.startswith(".")
    ]


def remove(path: str) -> None:
    """Removes a file or a whole folder; nothing happens if there is none."""
    if not exists(path):
        return
    if not is_local(path):
        _filesystems(path).delete([path])
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def _walk(folder: str, prefix: str, recursive: bool) -> Iterator[FileEntry]:
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from _walk(entry.path, f"{prefix}{entry.name}/", recursive)
            elif entry.is_file():
                # A temporary file may be renamed under our eyes.
                with contextlib.suppress(FileNotFoundError):
                    yield FileEntry(prefix + entry.name, entry.stat().st_size)


def _match(folder: str, recursive: bool) -> Iterator[FileEntry]:
    root = folder.rstrip("/") + "/"
    for metadata in (
        _filesystems(root).match([root + ("**" if recursive else "*")])[0].metadata_list
    ):
        yield FileEntry(metadata.path.removeprefix(root), metadata.size_in_bytes)


def _filesystems(path: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        raise RequestError(
            f"{path}: expected a path that Beam reaches, got an unknown kind. "
            "Install apache-beam with the extra for it (gcp, aws, azure), or correct the path."
        ) from error
    return FileSystems
