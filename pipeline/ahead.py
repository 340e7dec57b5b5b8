"""Listing a source in a process of its own, while this one loads the libraries of the job.

Both take about as long for a hundred thousand files, and neither lets another
thread of its process have the interpreter.
"""

import contextlib
import dataclasses
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from fsq.errors import DataError, FsqError
from pipeline.config import TokenizeConfig
from pipeline.plan import list_source
from pipeline.sources.listing import Listing

# Libraries with threads that Python does not know of.
HAVE_THREADS = {"grpc", "openvino", "tensorflow"}


@contextlib.contextmanager
def listing_ahead(config: TokenizeConfig) -> Iterator[Callable[[], Listing]]:
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
        found: Listing | FsqError
        files = []
        try:
            found = list_source(config, stride=config.batch_size)
            if (text := found.text) is not None:
                text.flush()
                files.append(text.fileno())
                # It has no name; it is handed over as it is.
                found = dataclasses.replace(found, text=None)
        except DataError as error:
            found = DataError(str(error))  # whatever subclass it was
        except FsqError as error:
            found = error
        content = pickle.dumps(found)
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
        found = pickle.loads(content)
        if isinstance(found, FsqError):
            raise found
        if not found.text_sha256:
            return found
        _, files, _, _ = socket.recv_fds(answer, 1, 1)
    return dataclasses.replace(found, text=os.fdopen(files[0], "r+b")) if files else None


def _read(stream: "socket.SocketIO", size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
