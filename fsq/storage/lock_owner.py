"""Who holds a directory: what a lock says of its owner, and the refusal that names it."""

import getpass
import os
import socket
import time

from fsq.errors import RequestError


def describe_self() -> str:
    """Names this process, its user and host, and the time."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return f"process {os.getpid()} of {user} on {socket.gethostname()}, since {began}"


def taken_error(directory: str, owner: str) -> RequestError:
    """Makes the error for a directory that another run holds.

    Args:
      directory: The directory.
      owner: What its lock says; empty if it says nothing yet.
    """
    return RequestError(
        f"{directory}: expected no other run at work here, found {owner or 'another process'}. "
        "Wait for it, stop it, or choose another directory."
    )
