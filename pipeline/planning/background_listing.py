"""Listing a source in a process of its own, while this one loads the libraries of the job.

Both take about as long for a hundred thousand files, and neither lets another
thread of its process have the interpreter.
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

# Libraries with threads that Python does not know of.
HAVE_THREADS = {"grpc", "tensorflow", *packages()}


@contextlib.contextmanager
def list_in_background(config: TokenizeConfig) -> Iterator[Callable[[], Listing]]:
    """Begins to list a job's source; yields what waits for the listing and returns it.

    It raises what listing raises. Where a process cannot be forked safely, the
    listing is done when it is asked for.
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
    """Other threads would be missing in the new process, with whatever they hold."""
    alone = threading.active_count() == 1 and not HAVE_THREADS & sys.modules.keys()
    return sys.platform == "linux" and alone


def _list_and_exit(config: TokenizeConfig, answer: socket.socket) -> NoReturn:
    try:
        files = []
        try:
            listing = list_source(config, stride=config.batch_size)
            if listing.text is not None:
                listing.text.flush()
                # It has no name; it is handed over as it is.
                files.append(listing.text.fileno())
            found = _to_dict(listing)
        except FsqError as error:
            found = {"error": isinstance(error, RequestError), "message": str(error)}
        content = json.dumps(found).encode()
        answer.sendall(len(content).to_bytes(8, "big") + content)
        if files:
            socket.send_fds(answer, [b"\0"], files)
    finally:
        # A fault of another kind: nothing was sent, and the other process finds it out by itself.
        os._exit(0)


def _receive(answer: socket.socket) -> Listing | None:
    """Returns the listing; None if none came.

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
    """All of a listing but its text, as JSON has it."""
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
