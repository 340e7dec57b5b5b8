"""Files of the Hugging Face hub: hf://datasets/owner/name[@revision]/path, hf://owner/name/path.

For reading. A revision that moves, as a branch does, is resolved to its commit once in
a process, so that all files are of one state of the repository.
"""

import contextlib
import errno
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from fsq.errors import RequestError
from fsq.installation import install_command
from fsq.storage.ranged_reader import RangedReader
from fsq.storage.store_errors import os_errors

_lock = threading.Lock()
_REPOSITORIES = ("datasets", "spaces")


class HubStore(NamedTuple):
    """A path on the hub: as it was given, its client, and the path with the commit in it."""

    url: str
    client: Any
    path: str

    @classmethod
    def at(cls, url: str) -> "HubStore":
        """Returns the place of a file or folder.

        Raises:
          RequestError: The path names no repository; or huggingface_hub is not installed.
          Exception: There is no such repository or revision, or it cannot be read.
        """
        kind, repository, revision, path = _split(url)
        state = (os.getpid(), os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN"))
        with _lock:
            client = _client(url, state)
            commit = _commit(client, kind, repository, revision, state)
        prefix = f"{kind}s/" if kind != "model" else ""
        return cls(url, client, f"{prefix}{repository}@{commit}/{path}".rstrip("/"))

    def open_read(self) -> BinaryIO:
        """Opens the file for reading."""
        file = self.client.open(self.path, "rb", cache_type="none", block_size=1)

        def read_range(offset: int, length: int) -> bytes:
            with os_errors(self.url):
                file.seek(offset)
                data: bytes = file.read(length)
            return data

        return cast(BinaryIO, RangedReader(read_range, file.size, file.close))

    def exists(self) -> bool:
        """Returns whether there is a file or folder of the path."""
        return self._info() is not None

    def modified_ns(self) -> int:
        """Returns a number that changes with the content: the hub has the hash, not the time.

        Raises:
          FileNotFoundError: There is no such file.
        """
        info = self._info()
        if info is None or info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "no such file", self.url)
        return _identity(info)

    def list_objects(self, *, recursive: bool) -> Iterator[tuple[str, int, int]]:
        """Yields the name relative to the path, size and identity of the files below it."""
        info = self._info()
        if info is None or info["type"] == "file":
            return
        depth = None if recursive else 1
        found = self.client.find(self.path, maxdepth=depth, detail=True)
        for path, entry in found.items():
            if entry["type"] == "file":
                yield path[len(self.path) + 1 :], entry["size"], _identity(entry)

    def _info(self) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            info: dict[str, Any] = self.client.info(self.path)
            return info
        return None


def writing_error(url: str) -> RequestError:
    """Returns why nothing is written to a path on the hub, where each file is a commit."""
    kind, repository, _, path = _split(url)
    where = f" {path}" if path else ""
    return RequestError(
        f"{url}: expected a local directory, s3:// or gs:// to write to, got the hub, which is "
        "only read, because each file written there is a commit. Write to a local directory DIR, "
        f"then type: hf upload {repository} DIR{where} --repo-type {kind}."
    )


def _split(url: str) -> tuple[str, str, str | None, str]:
    """Returns kind, repository, revision and path inside it."""
    parts = url.removeprefix("hf://").rstrip("/").split("/")
    kind = "model"
    if parts[0] in _REPOSITORIES:
        kind = parts.pop(0).removesuffix("s")
    if len(parts) < 2 or not all(parts[:2]) or parts[0] == "buckets":
        raise RequestError(
            f"{url}: expected hf://datasets/owner/name/path, or hf://owner/name/path for a model. "
            "Correct the path."
        )
    name, _, revision = parts[1].partition("@")
    # A revision such as refs/convert/parquet has slashes in it, as the hub's own paths have.
    rest = parts[2:]
    if revision == "refs" and len(rest) >= 2:
        revision, rest = "/".join([revision, *rest[:2]]), rest[2:]
    revision = revision.replace("%2F", "/")
    return kind, f"{parts[0]}/{name}", revision or None, "/".join(rest)


def _identity(info: dict[str, Any]) -> int:
    digest = (info.get("lfs") or {}).get("sha256") or info["blob_id"]
    return int(digest[:15], 16)


@functools.lru_cache(maxsize=8)
def _client(url: str, state: tuple[Any, ...]) -> Any:
    try:
        from huggingface_hub import HfFileSystem
    except ImportError as error:
        raise RequestError(
            f"{url}: expected the extra 'stores', which reads the hub, found no module "
            f"{error.name!r}. Install it: {install_command('stores')}."
        ) from error
    # Another instance, and with it another list of files, than a library of the user's has.
    return HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT"), skip_instance_cache=True)


@functools.lru_cache(maxsize=64)
def _commit(
    client: Any, kind: str, repository: str, revision: str | None, state: tuple[Any, ...]
) -> str:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=client.endpoint)
    commit: str = api.repo_info(repository, repo_type=kind, revision=revision, timeout=30).sha
    return commit
