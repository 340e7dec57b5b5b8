"""Owner of a directory lock: its description, and the error that names it."""

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
    """Makes the error for a directory that another run has locked.

    Args:
      directory: The directory.
      owner: Description of the owner from the lock; empty if not written yet.
    """
    return RequestError(
        f"{directory}: expected no other run at work here, found {owner or 'another process'}. "
        "Wait for it, stop it, or choose another directory."
    )
