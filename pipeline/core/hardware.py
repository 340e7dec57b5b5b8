"""The kind of machine, as far as an encoder's last decimals depend on it."""

import functools
import platform
from pathlib import Path

# The widest first: kernels are chosen by it.
VECTOR_UNITS = ("amx_tile", "avx512f", "avx2", "avx", "sse4_2", "sve", "asimd")


@functools.cache
def machine_kind() -> str:
    """Returns the architecture and the widest vector unit, 'x86_64 avx2' for example.

    The latter is left out where the system does not tell.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    flags = next(
        (line for line in text.splitlines() if line.lower().startswith(("flags", "feat"))), ""
    )
    widest = next((unit for unit in VECTOR_UNITS if unit in flags.split()), "")
    return f"{platform.machine()} {widest}".rstrip()
