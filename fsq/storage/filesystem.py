"""File operations on local disks and in object stores, with atomic writes.

Local paths are handled by the operating system, paths with a scheme by
`fsq.storage.object_store`, which is imported when the first of them is used.

A local file is written under a unique temporary name, synchronised to the disk and
renamed; an object is uploaded when it is complete. Folders are not created
implicitly: a late worker of a job whose folder was removed must fail, not create the
folder again.
"""

import contextlib
import errno
import fnmatch
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from types import ModuleType
from typing import BinaryIO, NamedTuple

TRIES_TO_REMOVE = 100


class FileEntry(NamedTuple):
    """A file's name relative to the listed folder, its size, and its modification time."""

    name: str
    size_bytes: int
    modified_ns: int


def is_local(path: str) -> bool:
    """Returns whether a path is on a local disk: it has no scheme."""
    return "://" not in path


def join(folder: str, *names: str) -> str:
    """Joins with '/', which every supported file system accepts."""
    return "/".join([folder.rstrip("/") or "/", *names])


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading, seekable and never decompressed.

    Raises:
      OSError: There is no such file, or it cannot be read.
    """
    if is_local(path):
        return open(path, "rb")
    file: BinaryIO = _store().open_read(path)
    return file


def read(path: str) -> bytes:
    """Reads a whole file."""
    if is_local(path):
        # Allocating a buffer takes as long as reading a small image.
        with open(path, "rb", buffering=0) as file:
            return file.read()
    with open_read(path) as file:
        return file.read()


def read_sized(path: str, size_bytes: int) -> bytes:
    """Reads a whole file of a known size; cheaper than `read` if it is small."""
    if is_local(path):
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(number, size_bytes + 1)
        finally:
            os.close(number)
        if len(data) == size_bytes:
            return data
    # Another size than expected, or more than the system reads at once.
    return read(path)


def read_head(path: str, size_bytes: int) -> bytes:
    """Reads the first bytes of a file, at most `size_bytes`."""
    with open_read(path) as file:
        return file.read(size_bytes)


def write(path: str, data: bytes) -> None:
    """Writes a whole file into an existing folder; see `open_write`."""
    with open_write(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name, complete, when the block ends, or not at all.

    Raises:
      OSError: It cannot be written; the error has the final path, not the temporary one.
    """
    if not is_local(path):
        with _store().open_write(path) as file:
            yield file
        return
    with temporary_file(path) as temporary, open(temporary, "wb") as file:
        yield file


@contextlib.contextmanager
def temporary_file(path: str) -> Iterator[str]:
    """Yields a temporary name; the file of that name is renamed to the path when the block ends.

    For local paths: an object in a store appears complete anyway. The file is synchronised to
    the disk first. If the block fails, it is removed.

    Raises:
      OSError: It cannot be written; the error has the final path, not the temporary one.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        _synchronise(temporary)
        rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise


def _synchronise(path: str) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def refuse_read_only(path: str) -> None:
    """Raises a RequestError for a path on the hub, which is only read; asks nobody."""
    if not is_local(path):
        _store().refuse_read_only(path)


def make_folder(path: str) -> None:
    """Creates a folder and its parents, if the file system has folders."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)


def temporary_name(path: str) -> str:
    """Returns a unique hidden name beside the path."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.{secrets.token_hex(4)}.tmp"


def final_name(name: str) -> str:
    """Returns the final name of a temporary file; any other name unchanged."""
    return re.sub(r"^\.(.*)\.[0-9a-f]{8}\.tmp$", r"\1", name, flags=re.DOTALL)


def rename(source: str, target: str) -> None:
    """Renames a file, replacing an existing target."""
    if is_local(source):
        os.replace(source, target)
    else:
        _store().rename(source, target)


def copy(source: str, target: str) -> None:
    """Makes a hard link to a file that is never changed, or copies it if links fail."""
    if not is_local(source):
        _store().copy(source, target)
        return
    with contextlib.suppress(FileNotFoundError):
        os.remove(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def modified_ns(path: str) -> int:
    """Returns the modification time of a file, in nanoseconds since the epoch."""
    if is_local(path):
        return os.stat(path).st_mtime_ns
    return int(_store().modified_ns(path))


def exists(path: str) -> bool:
    """Returns whether a file or folder exists; in an object store, a folder with files."""
    if is_local(path):
        return os.path.exists(path)
    return bool(_store().exists(path))


def list_files(folder: str, *, recursive: bool = False) -> list[FileEntry]:
    """Lists the files in a folder, sorted by name; empty if there is no such folder.

    Links to folders are not followed.
    """
    if is_local(folder):
        return sorted(_walk(folder, "", recursive))
    return sorted(FileEntry(*found) for found in _store().list_objects(folder, recursive=recursive))


def glob(pattern: str) -> list[str]:
    """Lists the paths that match a pattern; see `matches`.

    Sorted; empty if nothing matches. Folders and special files that match are listed
    too, so that the caller can refuse them. A name with brackets in it is found if it
    matches nothing as a pattern. Links to folders are followed, but not by '**'.
    """
    parts = pattern.split("/")
    fixed = next((n for n, part in enumerate(parts) if _is_magic(part)), len(parts) - 1)
    folder = "/".join(parts[:fixed])
    prefix = f"{folder}/" if fixed else ""
    if is_local(pattern):
        return sorted(set(_glob(prefix, parts[fixed:])))
    deep = fixed < len(parts) - 1
    names = [prefix + entry.name for entry in list_files(folder, recursive=deep)]
    return [name for name in names if matches(name, pattern)] or [
        name for name in names if name == pattern
    ]


def matches(path: str, pattern: str) -> bool:
    """Returns whether a path matches a pattern: '*', '?', '[0-4]' in names, '**' for any folders.

    Hidden files and folders match only a name that begins with a dot. A folder matches itself.
    """
    return _match(path.split("/"), pattern.split("/"))


def _match(names: list[str], parts: list[str]) -> bool:
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**" and len(parts) > 1:
        return _match(names, parts[1:]) or (
            not names[0].startswith(".") and _match(names[1:], parts)
        )
    first = _match_name(names[0], parts[0]) or (names[0] == parts[0] and len(parts) > 1)
    return first and _match(names[1:], parts[1:])


def _match_name(name: str, part: str) -> bool:
    return fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


def _is_magic(part: str) -> bool:
    return any(mark in part for mark in "*?[")


def _glob(prefix: str, parts: list[str]) -> Iterator[str]:
    """Yields the local paths that begin with a prefix and go on as the parts of a pattern say."""
    part, *rest = parts
    if part == "**" and rest:
        yield from _glob(prefix, rest)
        for name in _names(prefix or "."):
            if not name.startswith(".") and _is_real_folder(prefix + name):
                yield from _glob(f"{prefix}{name}/", parts)
        return
    if not _is_magic(part):
        found = [part] if os.path.lexists(prefix + part) else []
    else:
        names = _names(prefix or ".")
        found = [name for name in names if _match_name(name, part)] or [
            name for name in names if name == part
        ]
    for name in found:
        if not rest:
            yield prefix + name
        elif os.path.isdir(prefix + name):
            yield from _glob(f"{prefix}{name}/", rest)


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def remove(path: str) -> None:
    """Removes a file or a whole folder, if it exists."""
    if not is_local(path):
        _store().remove(path)
    elif not os.path.exists(path):
        return
    elif os.path.isdir(path) and not os.path.islink(path):
        _remove_folder(path)
    else:
        os.remove(path)


def _remove_folder(path: str) -> None:
    """Removes a local folder, even while a late worker adds or renames files in it."""
    for _ in range(TRIES_TO_REMOVE):
        with contextlib.suppress(FileNotFoundError):
            try:
                shutil.rmtree(path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
        if not os.path.lexists(path):
            return
    shutil.rmtree(path)


def room_for(error: OSError) -> str:
    """Returns ', or make room' for a message if the disk is full, else ''."""
    return ", or make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""


def has_temporary(folder: str) -> bool:
    """Returns whether a folder has temporary files, left by a killed process."""
    return any(final_name(entry.name) != entry.name for entry in list_files(folder))


def remove_temporary(folder: str) -> None:
    """Removes the temporary files in a folder, left by a killed process."""
    for entry in list_files(folder):
        if final_name(entry.name) != entry.name:
            remove(join(folder, entry.name))


def _names(folder: str) -> list[str]:
    if not is_local(folder):
        return [entry.name for entry in list_files(folder)]
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _walk(folder: str, prefix: str, recursive: bool) -> Iterator[FileEntry]:
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from _walk(entry.path, f"{prefix}{entry.name}/", recursive)
            elif entry.is_file():
                # A temporary file may be renamed meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    yield FileEntry(prefix + entry.name, stat.st_size, stat.st_mtime_ns)


def _store() -> ModuleType:
    """Returns the module for paths with a scheme, which takes seconds to import."""
    from fsq.storage import object_store

    return object_store
