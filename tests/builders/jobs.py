"""What two runs of a job are compared by."""

from pathlib import Path

# Times are measured anew in each run, and the others name their directory.
DIFFERENT = ("timing.json", "config.yaml", "manifest.json")


def files_of(directory: Path | str) -> dict[str, bytes]:
    """Reads every file of a dataset, hidden ones too, but those that differ between directories."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(Path(directory).rglob("*"))
        if path.name not in DIFFERENT
    }
