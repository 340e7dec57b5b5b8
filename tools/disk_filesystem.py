"""A store on the local disk that behaves like an object store: disk://some/path.

It has no folders: only files exist, and a folder is removed with its last file. An
object appears when its upload is complete. A missing object is noticed when it is
opened, with an error of the store's own. A rename is a copy and a deletion.
"""

import os
import shutil
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSystemHandler, FileType, PyFileSystem

from fsq.storage.arrow_clients import MAKERS

SCHEME = "disk"
_UPLOADING = ".uploading"


class StoreError(Exception):
    """An error as clients of object stores raise it: not an OSError."""


class _Upload:
    """A file that gets its name when it is closed."""

    def __init__(self, path: str):
        self._path = path
        self._file = open(path + _UPLOADING, "wb")  # noqa: SIM115 - closed by `close`

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            os.replace(self._path + _UPLOADING, self._path)


class DiskHandler(FileSystemHandler):
    """The operations of the store that the project uses."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DiskHandler)

    def get_type_name(self) -> str:
        """Returns the name of the kind of store."""
        return SCHEME

    def normalize_path(self, path: str) -> str:
        """Returns the path."""
        return path

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Returns what stands at each path."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[FileInfo]:
        """Lists the objects below a folder, and folders that have some, in no order."""
        found = []
        base = selector.base_dir
        for folder, folders, names in os.walk(base):
            inner = os.path.relpath(folder, base)
            prefix = base if inner == "." else f"{base}/{inner}"
            found += [f"{prefix}/{name}" for name in names if not name.endswith(_UPLOADING)]
            found += [f"{prefix}/{name}" for name in folders]
            if not selector.recursive:
                break
        infos = self.get_file_info(found)
        # Renamed or removed meanwhile, some are gone.
        return [info for info in infos if info.type != FileType.NotFound]

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Opens for reading."""
        self._check(path)
        return pa.PythonFile(open(path, "rb"), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Opens for reading in order."""
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Opens for writing; makes the folders of the local disk."""
        local = path
        os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
        return pa.PythonFile(_Upload(local), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Raises: an object is never appended to."""
        raise StoreError(f"{path}: cannot append")

    def copy_file(self, src: str, dest: str) -> None:
        """Copies an object."""
        self._check(src)
        os.makedirs(os.path.dirname(dest) or ".", exist_ok=True)
        shutil.copyfile(src, dest + _UPLOADING)
        os.replace(dest + _UPLOADING, dest)

    def move(self, src: str, dest: str) -> None:
        """Copies, then deletes."""
        self.copy_file(src, dest)
        self.delete_file(src)

    def delete_file(self, path: str) -> None:
        """Deletes an object, and folders that become empty."""
        self._check(path)
        os.remove(path)
        _remove_empty(os.path.dirname(path))

    def delete_dir(self, path: str) -> None:
        """Deletes all objects below a folder, one by one."""
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                os.remove(os.path.join(folder, name))
            _remove_empty(folder)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Does nothing: there are no folders."""

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Raises: the project deletes folders whole."""
        raise StoreError(f"{path}: cannot empty")

    def delete_root_dir_contents(self) -> None:
        """Raises: nobody empties the disk."""
        raise StoreError("cannot empty the store")

    def _check(self, path: str) -> None:
        if not os.path.isfile(path):
            raise StoreError(f"404 not found: {path}")

    def _info(self, path: str) -> FileInfo:
        local = path
        try:
            stat = os.stat(local)
        except OSError:
            return FileInfo(path, FileType.NotFound)
        if os.path.isdir(local):
            return FileInfo(path, FileType.Directory)
        return FileInfo(path, FileType.File, size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _remove_empty(folder: str) -> None:
    while folder:
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)


def _client(bucket: str, user: str) -> PyFileSystem:
    return PyFileSystem(DiskHandler())


MAKERS[SCHEME] = _client
