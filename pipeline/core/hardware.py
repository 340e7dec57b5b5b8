"""Hardware kind: the CPU features on which an encoder's last decimals depend."""

import functools
import platform
from pathlib import Path

# Widest first: libraries choose their kernels by the widest one.
VECTOR_UNITS = ("amx_tile", "avx512f", "avx2", "avx", "sse4_2", "sve", "asimd")


@functools.cache
def machine_kind() -> str:
    """Returns the architecture and the widest vector unit, 'x86_64 avx2' for example.

    The architecture alone where /proc/cpuinfo lists none.
    """
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.machine()
    flags = next(
        (line for line in text.splitlines() if line.lower().startswith(("flags", "feat"))), ""
    )
    widest = next((unit for unit in VECTOR_UNITS if unit in flags.split()), "")
    return f"{platform.machine()} {widest}".rstrip()
