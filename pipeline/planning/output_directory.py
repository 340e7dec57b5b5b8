"""What an output directory holds, read once and handed on."""

import contextlib
import dataclasses
import re

from fsq.dataset.fingerprint import Fingerprint
from fsq.dataset.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    REJECTS_FILE,
    STATS_FILE,
    TIMING_FILE,
    Manifest,
    has_manifest,
    read_manifest,
)
from fsq.errors import RequestError
from fsq.spec.contract import CONTRACT_FILE, WEIGHTS_FILE
from fsq.storage import filesystem
from fsq.storage.directory_lock import LOCK_FILE
from pipeline.job.job import WORK_FOLDER
from pipeline.work.job_file import JobFile, read_job_file, shard_pattern, write_job_file

OUR_FILES = {
    MANIFEST_FILE,
    CONFIG_FILE,
    STATS_FILE,
    TIMING_FILE,
    REJECTS_FILE,
    CONTRACT_FILE,
    WEIGHTS_FILE,
    LOCK_FILE,
    "features.json",
    "dataset_info.json",
}


@dataclasses.dataclass(frozen=True)
class OutputDirectory:
    """What a directory holds: nothing, an unfinished job, a finished dataset, or foreign files.

    Attributes:
      path: The directory.
      manifest: Of the finished dataset.
      job_file: Of the unfinished job.
      foreign_file: The first file that neither of them writes.
      has_leftovers: Whether the run that finished the dataset was stopped at its very end.
    """

    path: str
    manifest: Manifest | None = None
    job_file: JobFile | None = None
    foreign_file: str | None = None
    # Not compared: a run sees its own lock.
    has_leftovers: bool = dataclasses.field(default=False, compare=False)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Of the dataset, or of the job."""
        if self.manifest is not None:
            return self.manifest.fingerprint.fields
        return None if self.job_file is None else self.job_file.fingerprint


def read_output(path: str) -> OutputDirectory:
    """Reads what a directory holds; nothing where there is none.

    Raises:
      RequestError: The job file is damaged.
      DataError: The manifest is damaged.
    """
    path = path.rstrip("/")
    names = [entry.name for entry in filesystem.list_files(path)]
    if has_manifest(path):
        manifest = read_manifest(path)
        temporary = any(filesystem.final_name(name) != name for name in names)
        work = filesystem.exists(filesystem.join(path, WORK_FOLDER))
        found = OutputDirectory(
            path, manifest=manifest, has_leftovers=work or temporary or LOCK_FILE in names
        )
    else:
        found = OutputDirectory(path, job_file=read_job_file(path))
    return dataclasses.replace(found, foreign_file=_first_foreign(names, found.fingerprint))


def _first_foreign(names: list[str], fingerprint: Fingerprint | None) -> str | None:
    """Returns the first file that a job with this fingerprint does not write."""
    pattern = shard_pattern(fingerprint) if fingerprint else None
    for name in names:
        # What was being written when a job was killed bears the name of what it would become.
        plain = filesystem.final_name(name)
        ours = plain in OUR_FILES or (plain.endswith(".labels.txt") and fingerprint is not None)
        if not (ours or (pattern and re.fullmatch(pattern, plain))):
            return name
    return None


def refuse_foreign(output: OutputDirectory) -> None:
    """Looks at an output that is to be overwritten.

    Raises:
      RequestError: It holds other files than such a job writes.
    """
    if output.foreign_file is not None:
        raise RequestError(
            f"{output.path}: expected nothing but a dataset of ours to overwrite, "
            f"found {output.foreign_file!r}. Choose another directory."
        )


def clear_output(output: OutputDirectory) -> OutputDirectory:
    """Removes an earlier job from the output, and nothing but what such a job writes.

    Returns:
      The output, empty.

    Raises:
      RequestError: The directory holds foreign files.
    """
    refuse_foreign(output)
    work = filesystem.join(output.path, WORK_FOLDER)
    if output.manifest is not None:
        filesystem.remove(work)
        # Of an interruption in the middle must remain what is known as ours, but is no dataset.
        with contextlib.suppress(OSError):  # a full disk: clearing makes room
            filesystem.make_folder(work)
            write_job_file(output.path, JobFile(fingerprint=output.manifest.fingerprint.fields))
        filesystem.remove(filesystem.join(output.path, MANIFEST_FILE))
    for entry in filesystem.list_files(output.path):
        if entry.name != LOCK_FILE:
            filesystem.remove(filesystem.join(output.path, entry.name))
    filesystem.remove(work)
    return OutputDirectory(output.path)
