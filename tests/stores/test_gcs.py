"""Paths in Google Cloud Storage, against fake-gcs-server if it is installed.

It is found on PATH or by FAKE_GCS_SERVER:
`go install github.com/fsouza/fake-gcs-server@latest`.
"""

import errno
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.jobs import DIFFERENT, files_of, job_fields

from fsq.storage import filesystem
from pipeline.job.config import TokenizeConfig
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize

PROGRAM = os.environ.get("FAKE_GCS_SERVER") or shutil.which("fake-gcs-server")
BUCKET = "gs://images"
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no fake-gcs-server on PATH; set FAKE_GCS_SERVER to one"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    assert PROGRAM is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["-backend=memory", "-scheme=http", "-host=127.0.0.1", f"-port={port}"]
    options += [f"-external-url={url}", f"-public-host=127.0.0.1:{port}", "-log-level=error"]
    process = subprocess.Popen([PROGRAM, *options])
    try:
        make_bucket(url)
        yield url
    finally:
        process.kill()
        process.wait()


def make_bucket(url: str) -> None:
    headers = {"Content-Type": "application/json"}
    data = json.dumps({"name": BUCKET.removeprefix("gs://")}).encode()
    deadline = time.monotonic() + 30
    while True:
        request = urllib.request.Request(f"{url}/storage/v1/b", data=data, headers=headers)
        try:
            urllib.request.urlopen(request).close()
            return
        except OSError:  # not there yet
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(autouse=True)
def environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)


def test_objects_are_written_listed_read_renamed_and_removed():
    for name, data in {"b/empty": b"", "a": bytes(3 << 20), "b/x": b"tokens"}.items():
        filesystem.write(f"{BUCKET}/all/{name}", data)
        assert filesystem.read(f"gcs://images/all/{name}") == data
    filesystem.rename(f"{BUCKET}/all/b/x", f"{BUCKET}/all/c")
    filesystem.copy(f"{BUCKET}/all/c", f"{BUCKET}/all/d")
    found = filesystem.list_files(f"{BUCKET}/all", recursive=True)
    sizes = [("a", 3 << 20), ("b/empty", 0), ("c", 6), ("d", 6)]
    assert [(entry.name, entry.size_bytes) for entry in found] == sizes
    assert found[3].modified_ns == filesystem.modified_ns(f"{BUCKET}/all/d") > 0
    assert filesystem.exists(f"{BUCKET}/all/b")
    filesystem.remove(f"{BUCKET}/all/d")
    filesystem.remove(f"{BUCKET}/all")
    assert filesystem.list_files(f"{BUCKET}/all", recursive=True) == []


def test_what_is_missing_is_named():
    for access, reason in (
        (lambda: filesystem.read(f"{BUCKET}/none"), "no such object"),
        (lambda: filesystem.write("gs://no-bucket/x", b""), "no such bucket"),
    ):
        with pytest.raises(FileNotFoundError) as error:
            access()
        assert (error.value.errno, error.value.strerror) == (errno.ENOENT, reason)
    assert not filesystem.exists("gs://no-bucket/x")


def test_a_job_in_gcs_gives_the_bytes_of_the_job_on_a_disk(
    small_images: list[bytes], tokenizer_directory: Path, tmp_path: Path
):
    for number, data in enumerate(small_images[:10]):
        name = f"photos/cats/{number}.png"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        filesystem.write(f"{BUCKET}/{name}", data)
    for path in tokenizer_directory.iterdir():
        filesystem.write(f"{BUCKET}/tokenizer/{path.name}", path.read_bytes())
    tokenize(job(str(tmp_path / "photos"), str(tokenizer_directory), str(tmp_path / "out")))
    tokenize(job(f"{BUCKET}/photos", f"{BUCKET}/tokenizer", f"{BUCKET}/out"))
    names = [entry.name for entry in filesystem.list_files(f"{BUCKET}/out", recursive=True)]
    found = {
        name: filesystem.read(f"{BUCKET}/out/{name}") for name in names if name not in DIFFERENT
    }
    assert found == files_of(tmp_path / "out")
    assert list(verify_dataset(f"{BUCKET}/out")) == []


def job(source: str, tokenizer: str, output: str) -> TokenizeConfig:
    made = job_fields({"kind": "image_folder", "directory": source}, Path("t"), Path("o"))
    made["tokenizer"], made["output"]["directory"] = tokenizer, output
    return TokenizeConfig.model_validate(made)
