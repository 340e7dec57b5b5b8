"""Notebook output: one line below the cell that is written again and again.

It needs IPython alone, which every kernel has. (rich needs ipywidgets for it.)
"""

import html
import importlib
import sys
from collections.abc import Callable
from typing import Any

ShowInCell = Callable[[int, int, str], None]


def cell_output() -> ShowInCell | None:
    """Returns show(done, total, line), which shows a bar and a line below the running cell.

    Each call replaces what the one before has shown. None if this is no notebook.
    """
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if not hasattr(shell, "kernel"):
        return None
    display: Any = importlib.import_module("IPython.display").display
    handle: Any = None

    def show(done: int, total: int, line: str) -> None:
        nonlocal handle
        bar = f'<progress value="{done}" max="{total}"></progress>'
        data = {"text/plain": line, "text/html": f"{bar} {html.escape(line)}"}
        if handle is None:
            handle = display(data, raw=True, display_id=True)
        else:
            handle.update(data, raw=True)

    return show
