"""Background listing: lists a source in another process while this one imports its libraries.

Both take about equally long for 100,000 files, and both hold the GIL, so that a
thread would not help.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from fsq.dataset.records import CarriedFeature
from fsq.errors import DataError, FsqError, RequestError
from fsq.runtimes.registry import packages
from pipeline.job.config import TokenizeConfig
from pipeline.planning.plan import list_source
from pipeline.sources.listing import ListedFile, Listing

# Libraries with threads that `threading` does not count.
HAVE_THREADS = {"grpc", "tensorflow", *packages()}


@contextlib.contextmanager
def list_in_background(config: TokenizeConfig) -> Iterator[Callable[[], Listing]]:
    """Starts to list a job's source; yields a function that waits for the listing.

    The function raises the errors of the listing. Where forking is not safe, it
    lists in this process when it is called.
    """
    if not _can_fork():
        yield lambda: list_source(config, stride=config.batch_size)
        return
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _list_and_exit(config, theirs)
    theirs.close()
    try:
        with ours:
            yield lambda: _receive(ours) or list_source(config, stride=config.batch_size)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _can_fork() -> bool:
    """Forking is safe without other threads, whose locks would stay locked in the new process."""
    alone = threading.active_count() == 1 and not HAVE_THREADS & sys.modules.keys()
    return sys.platform == "linux" and alone


def _list_and_exit(config: TokenizeConfig, answer: socket.socket) -> NoReturn:
    try:
        files = []
        try:
            listing = list_source(config, stride=config.batch_size)
            if listing.text is not None:
                listing.text.flush()
                # The temporary file has no name, so its descriptor is sent.
                files.append(listing.text.fileno())
            found = _to_dict(listing)
        except FsqError as error:
            found = {"error": isinstance(error, RequestError), "message": str(error)}
        content = json.dumps(found).encode()
        answer.sendall(len(content).to_bytes(8, "big") + content)
        if files:
            socket.send_fds(answer, [b"\0"], files)
    finally:
        # After any other error nothing is sent; the parent then lists by itself and raises it.
        os._exit(0)


def _receive(answer: socket.socket) -> Listing | None:
    """Returns the listing; None if the other process sent none.

    Raises:
      RequestError, DataError: See `Source.list`.
    """
    with answer.makefile("rb", buffering=0) as stream:
        size = int.from_bytes(_read(stream, 8), "big")
        content = _read(stream, size)
    if not size or len(content) < size:
        return None
    found = json.loads(content)
    if "error" in found:
        raise (RequestError if found["error"] else DataError)(found["message"])
    listing = _from_dict(found)
    if not listing.text_sha256:
        return listing
    _, files, _, _ = socket.recv_fds(answer, 1, 1)
    return dataclasses.replace(listing, text=os.fdopen(files[0], "r+b")) if files else None


def _to_dict(listing: Listing) -> dict[str, Any]:
    """Returns a listing without its text, as JSON values."""
    content = dataclasses.asdict(dataclasses.replace(listing, text=None))
    for file in content["files"]:
        file["offsets"] = file["offsets"].tolist()
    return content


def _from_dict(content: dict[str, Any]) -> Listing:
    """The inverse of `_to_dict`."""
    files = [
        ListedFile(**{**file, "offsets": np.array(file["offsets"], np.int64)})
        for file in content["files"]
    ]
    features = [
        CarriedFeature(**{**feature, "class_names": _tuple_of(feature["class_names"])})
        for feature in content["features"]
    ]
    groups = {name: (records, size) for name, (records, size) in content["groups"].items()}
    found = {"files": tuple(files), "features": tuple(features), "groups": groups}
    return Listing(**{**content, **found})


def _tuple_of(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _read(stream: "socket.SocketIO", size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
