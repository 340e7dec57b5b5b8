"""Outside IPython: Beam builds and runs a graph in a notebook as in any other process.

Where IPython has a shell, Beam imports its interactive environment with the first
transform, to add the number of the cell to the label. That environment needs pandas,
older than 3, and keeps temporary files for its own caches. A job uses none of it.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def outside_ipython() -> Iterator[None]:
    """While the block runs, `IPython.get_ipython()` returns None in this thread.

    It is what Beam asks. Other threads, and IPython itself, still see the shell.
    """
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        yield
        return
    get_shell, thread = ipython.get_ipython, threading.get_ident()

    def get_ipython() -> Any:
        return None if threading.get_ident() == thread else get_shell()

    ipython.get_ipython = get_ipython
    try:
        yield
    finally:
        ipython.get_ipython = get_shell
