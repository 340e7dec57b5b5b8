"""--only-rejects killed before any change of a file: a dataset is left, or a job that goes on.

In this process: the killed command changes nothing more, whatever it tries afterwards.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.jobs import job_config

from fsq.storage import filesystem
from pipeline.planning import retry_rejects
from pipeline.planning.output_directory import read_output
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from tools.faults import Changes

pytestmark = pytest.mark.slow

BAD = "cats/003.png"


class Killed(BaseException):
    """What no code expects."""


class Kill(Changes):
    """Ends the process, as far as its files can tell, amid one of its changes.

    Hooks of the interpreter cannot be taken out again, so all kills share one.
    """

    def count(self, what: str, path: str, first=lambda: None) -> None:
        before = len(self.made)
        super().count(what, path, first)
        if len(self.made) > before and before >= self._at:
            raise Killed

    def forget(self, at: int) -> None:
        """Begins to count again."""
        self.made.clear()
        self._at = at
        self._disturb = lambda: None  # the half of what is written stays


NEVER = 1 << 30


@pytest.fixture(scope="module")
def kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kill]:
    folder = tmp_path_factory.mktemp("killed") / "out"
    kill = Kill(str(folder), NEVER, None)
    kill.watch()
    yield kill
    kill.forget(NEVER)
    kill._folder = "/nowhere"
    del filesystem.open  # the built-in one serves again


@pytest.fixture(scope="module")
def dataset(
    image_folder: Path, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset with one reject, whose image was repaired since."""
    folder = tmp_path_factory.mktemp("rejected")
    images, directory = folder / "images", folder / "out"
    shutil.copytree(image_folder, images)
    whole = (images / BAD).read_bytes()
    (images / BAD).write_bytes(b"<html>")
    output = {"formats": ["tfrecord", "array_record"]}
    options = {"max_reject_fraction": 0.1, "output": output, "runtime": "tensorflow"}
    config = job_config(images, tokenizer_directory, directory, **options)
    assert tokenize(config).images_rejected == 1
    (images / BAD).write_bytes(whole)
    return directory


def begin(directory: Path) -> None:
    """Does what `--only-rejects` does before it encodes."""
    retry = retry_rejects.plan_retry(str(directory))
    if retry.is_needed:
        retry_rejects.begin_retry(retry)


def contents(directory: Path) -> dict[str, bytes]:
    """The files of a directory, but for the seconds in it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "timing.json"
    }


def begun(directory: Path) -> dict[str, object]:
    """What a begun retry consists of: its job, and the parts that it has."""
    found = contents(directory)
    return {name: data for name, data in found.items() if not name.endswith(".tmp")}


def test_a_retry_killed_at_any_change_leaves_a_dataset_or_goes_on(dataset: Path, kill: Kill):
    out = Path(kill._folder)

    def restore() -> None:
        kill.forget(NEVER)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(dataset, out)
        kill.forget(NEVER)

    restore()
    before = contents(out)
    begin(out)
    changes = list(kill.made)
    expected = begun(out)
    assert "manifest.json" not in expected and ".work/job.json" in expected
    assert len(changes) > 30, changes
    kinds = set()
    for number in range(len(changes)):
        restore()
        kill.forget(number)
        with pytest.raises(Killed):
            begin(out)
        kill.forget(NEVER)
        found = contents(out)
        if ".work/job.json" not in found:
            # As if nobody had come: every file is there, and nothing that is no dataset's.
            assert {name: data for name, data in found.items() if name[0] != "."} == before
            assert read_output(str(out)).manifest is not None
            assert list(verify_dataset(str(out))) == [], changes[number]
            kinds.add("dataset")
        else:
            assert json.loads(found[".work/job.json"])["attempt"] == 1
            kinds.add("job")
        begin(out)
        assert begun(out) == expected, changes[number]
    assert kinds == {"dataset", "job"}
