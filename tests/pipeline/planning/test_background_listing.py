"""Background listing gives what listing in this process gives."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from builders.jobs import MakeConfig, job_fields

from pipeline.planning.background_listing import list_in_background

# In a process of its own: the one that tests has threads, and would list for itself.
CODE = """
import sys
from pathlib import Path
import yaml
from fsq.errors import FsqError
from pipeline.planning import background_listing as background
from pipeline.job.config import TokenizeConfig
from pipeline.planning.plan import list_source, make_plan

config = TokenizeConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
asked = []
background.list_source = lambda *a, **k: asked.append(1) or list_source(*a, **k)
try:
    with background.list_in_background(config) as listing:
        plan = make_plan(config, get_listing=listing)
except FsqError as error:
    sys.exit(f"{type(error).__name__}: {error}")
other = make_plan(config)
# The one that lists here too would have asked here.
assert asked == [], asked
assert plan.units == other.units and plan.fingerprint == other.fingerprint
assert plan.job.features == other.job.features and plan.listing.groups == other.listing.groups
if plan.listing.text is not None:
    plan.listing.text.seek(0), other.listing.text.seek(0)
    assert plan.listing.text.read() == other.listing.text.read() != b""
print(plan.listing.num_records)
"""


def run(config: dict, tmp_path: Path, root: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return subprocess.run(
        [sys.executable, "-c", CODE, str(path)], cwd=root, capture_output=True, text=True
    )


def test_another_process_lists_the_same(
    image_folder: Path, tokenizer_directory: Path, tmp_path: Path, root: Path
):
    # Some names are no UTF-8.
    named = tmp_path / "named"
    shutil.copytree(image_folder, named)
    for path in [path for path in sorted(named.rglob("*")) if path.is_file()][:2]:
        os.rename(path, os.fsencode(path.parent) + b"/\xff" + os.fsencode(path.name))
    sample = {"kind": "tfds", "directory": str(root / "samples/fashion_mnist"), "split": "test"}
    for source, count in ((named, 100), (sample, 2000)):
        done = run(job_fields(source, tokenizer_directory, tmp_path / "out"), tmp_path, root)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(count)


def test_what_listing_refuses_is_refused_here(
    tokenizer_directory: Path, tmp_path: Path, root: Path
):
    (tmp_path / "empty").mkdir()
    config = job_fields(tmp_path / "empty", tokenizer_directory, tmp_path / "out")
    done = run(config, tmp_path, root)
    assert done.stderr.startswith("RequestError: source.directory: expected images in ")
    (tmp_path / "damaged").write_bytes(b"12345")
    config["source"] = {"kind": "tfrecord", "files": f"{tmp_path}/damaged", "image": "image"}
    done = run(config, tmp_path, root)
    assert done.stderr.startswith(f"DataError: {tmp_path}/damaged: expected a TFRecord, got text.")


def test_a_process_that_dies_costs_time_only(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipeline.planning.background_listing._can_fork", lambda: True)
    monkeypatch.setattr(
        "pipeline.planning.background_listing._list_and_exit",
        lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    )
    with list_in_background(make_config()) as listing:
        found = listing()
    assert found.num_records > 0
    assert found.text is not None


def test_no_process_is_left_behind(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch):
    config = make_config()
    monkeypatch.setattr("pipeline.planning.background_listing._can_fork", lambda: True)
    monkeypatch.setattr(
        "pipeline.planning.background_listing._list_and_exit", lambda *_: time.sleep(600)
    )
    children: list[int] = []
    fork = os.fork

    def noted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", noted)
    with pytest.raises(KeyError, match="before it was asked"), list_in_background(config):
        raise KeyError("before it was asked")
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)
