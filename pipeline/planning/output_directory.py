"""Output directory: reads what it holds, and clears it for --overwrite."""

import contextlib
import dataclasses
import re

from fsq.dataset.fingerprint import Fingerprint
from fsq.dataset.formats import FORMATS
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


# Named like part of a dataset, this one's or another's: a pattern of files would read them too.
LIKE_A_DATASET = re.compile(
    rf"-\d+-of-\d+|\.({'|'.join(map(re.escape, FORMATS))}|tfrecords|labels\.txt)$"
)
# What file managers, shells and schedulers leave anywhere.
LITTER = re.compile(r"\..*|Thumbs\.db|desktop\.ini|.+\.(log|out|err)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class OutputDirectory:
    """What a directory holds: nothing, an unfinished job, a finished dataset, or foreign files.

    Attributes:
      path: The directory.
      manifest: Manifest of the finished dataset, if any.
      job_file: Job file of the unfinished job, if any.
      foreign_file: Name of the first file that belongs to neither and must not be there:
        beside a job, one named like part of a dataset; elsewhere, any but litter.
      has_leftovers: Whether a finished dataset still has temporary files of a killed run.
    """

    path: str
    manifest: Manifest | None = None
    job_file: JobFile | None = None
    foreign_file: str | None = None
    # Not compared: a run's own lock file counts as a leftover.
    has_leftovers: bool = dataclasses.field(default=False, compare=False)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Of the dataset or the unfinished job."""
        if self.manifest is not None:
            return self.manifest.fingerprint.fields
        return None if self.job_file is None else self.job_file.fingerprint


def read_output(path: str) -> OutputDirectory:
    """Reads what a directory holds; a missing directory holds nothing.

    Raises:
      RequestError: The job file is damaged; or the directory is where nothing is written.
      DataError: The manifest is damaged.
    """
    path = path.rstrip("/")
    filesystem.refuse_read_only(path)
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
    """Returns the first file that must not be there; the fingerprint is that of the job, if any."""
    pattern = shard_pattern(fingerprint) if fingerprint else None
    for name in names:
        # The temporary file of a killed job counts by its final name.
        plain = filesystem.final_name(name)
        if stays(name) and (fingerprint is not None or LITTER.fullmatch(name)):
            continue
        # Without a job or a dataset, a file with a name of ours is another's: a tokenizer's, say.
        ours = plain in OUR_FILES or plain.endswith(".labels.txt")
        if fingerprint is None:
            ours = plain in (LOCK_FILE, REJECTS_FILE)
        if not (ours or (pattern and re.fullmatch(pattern, plain))):
            return name
    return None


def stays(name: str) -> bool:
    """Returns whether a file is nobody's concern: no job writes it, no reader takes it for ours.

    >>> stays(".DS_Store"), stays("notes.txt"), stays("other-train.tfrecord-00000-of-00002")
    (True, True, False)
    """
    plain = filesystem.final_name(name)
    return plain == name and name not in OUR_FILES and not LIKE_A_DATASET.search(name)


def refuse_foreign(output: OutputDirectory) -> None:
    """Checks that an output to be overwritten holds only files that a job writes.

    Raises:
      RequestError: It holds a foreign file.
    """
    if output.foreign_file is not None:
        raise RequestError(
            f"{output.path}: expected only files of fsq to overwrite, "
            f"found {output.foreign_file!r}. Move it away, or choose another directory."
        )


def clear_output(output: OutputDirectory) -> OutputDirectory:
    """Removes the files of an earlier job from the output, and leaves all others there.

    Returns:
      The empty output.

    Raises:
      RequestError: The output holds a foreign file.
    """
    refuse_foreign(output)
    work = filesystem.join(output.path, WORK_FOLDER)
    if output.manifest is not None:
        filesystem.remove(work)
        # If this is interrupted, the directory must look like an unfinished job, not a dataset.
        with contextlib.suppress(OSError):  # the disk may be full; clearing makes room
            filesystem.make_folder(work)
            write_job_file(output.path, JobFile(fingerprint=output.manifest.fingerprint.fields))
        filesystem.remove(filesystem.join(output.path, MANIFEST_FILE))
    for entry in filesystem.list_files(output.path):
        if entry.name != LOCK_FILE and not stays(entry.name):
            filesystem.remove(filesystem.join(output.path, entry.name))
    filesystem.remove(work)
    return OutputDirectory(output.path)
