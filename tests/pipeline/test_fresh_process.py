"""A job in a process of its own, from its first import on."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders.jobs import job_fields

# Notes what is imported for the first time outside the main thread; a forked process does so too.
CODE = """
import os, sys, threading

def note(event, arguments):
    if event == "import" and threading.current_thread() is not threading.main_thread():
        os.write(notes, f"{arguments[0]}\\n".encode())

notes = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(note)
from fsq.__main__ import main
main()
"""


@pytest.mark.slow
def test_no_thread_of_a_job_is_the_first_to_import_a_library(root: Path, tmp_path: Path):
    """While tensorflow-datasets is imported, imports in other threads fail."""
    source = {
        "kind": "tfds",
        "directory": str(root / "samples/fashion_mnist"),
        "split": "test",
        "carry": ["label"],
    }
    config = job_fields(
        source,
        root / "tokenizers/fashion_mnist",
        tmp_path / "out",
        output={"formats": ["tfrecord", "array_record"]},
        runtime="tensorflow",
    )
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    notes, job = str(tmp_path / "notes"), str(tmp_path / "job.yaml")
    done = subprocess.run(
        [sys.executable, "-c", CODE, notes, "tokenize", job, "--limit", "100"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = Path(notes).read_text().split()
    assert [name for name in imported if name.split(".")[0] not in sys.stdlib_module_names] == []
