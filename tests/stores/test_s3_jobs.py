"""Jobs whose source, tokenizer and output are in S3, against a real server over HTTP."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builders.jobs import DIFFERENT, files_of, job_fields
from builders.s3_server import BUCKET, SECRET, S3Server, serve_s3

from fsq.dataset import TokenBatches
from fsq.storage import filesystem
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from tools.faults import run_fsq
from tools.fork_server import start

FORMATS = {"formats": ["tfrecord", "array_record"]}


@pytest.fixture(scope="module")
def server(image_folder: Path, tokenizer_directory: Path) -> Iterator[S3Server]:
    with serve_s3() as server:
        server.upload(image_folder / "cats", "photos/cats")
        server.upload(tokenizer_directory, "tokenizer")
        yield server


@pytest.fixture(autouse=True)
def environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def fields(source: str, tokenizer: str, output: str, **changes: Any) -> dict[str, Any]:
    made = job_fields(
        {"kind": "image_folder", "directory": source},
        Path("tokenizer"),
        Path("out"),
        output=FORMATS,
        **changes,
    )
    made["tokenizer"], made["output"]["directory"] = tokenizer, output
    return made


def in_store(output: str) -> dict[str, Any]:
    bucket = f"s3://{BUCKET}"
    return fields(f"{bucket}/photos", f"{bucket}/tokenizer", f"{bucket}/{output}")


@pytest.fixture(scope="module")
def expected(
    image_folder: Path, tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files that the same job makes on a disk."""
    folder = tmp_path_factory.mktemp("local")
    photos = folder / "photos"
    photos.mkdir()
    (photos / "cats").symlink_to(image_folder / "cats")
    changes = {"source": {"kind": "image_folder", "directory": str(photos)}}
    local = fields(str(photos), str(tokenizer_directory), str(folder / "out"))
    local["source"] = changes["source"] | {"follow_links": True}
    tokenize(TokenizeConfig.model_validate(local))
    return files_of(folder / "out")


def comparable(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in DIFFERENT}


def test_a_job_in_s3_gives_the_bytes_of_the_job_on_a_disk(
    server: S3Server, expected: dict[str, bytes]
):
    with server.counted() as requests:
        tokenize(TokenizeConfig.model_validate(in_store("out")))
    found = server.objects("out")
    assert comparable(found) == expected
    written = b"".join(found.values())
    assert SECRET.encode() not in written
    assert b"127.0.0.1" not in written
    reads = Counter(
        request.method for request in requests if request.path.startswith("/images/photos/cats/")
    )
    # One request for the size of an image and one for its bytes.
    assert reads == {"HEAD": 50, "GET": 50}

    directory = f"s3://{BUCKET}/out"
    assert list(verify_dataset(directory)) == []
    assert dict(inspect_directory(directory))["records"].startswith("50")
    batches = list(TokenBatches(directory, batch_size=10))
    assert sum(len(np.asarray(batch["tokens"])) for batch in batches) == 50
    assert Tokenizer.load(directory).fingerprint


def test_a_job_that_is_killed_in_s3_goes_on_to_the_same_bytes(
    server: S3Server, expected: dict[str, bytes], tmp_path: Path
):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(in_store("killed")))
    job = {
        "arguments": ["tokenize", "job.yaml", "--", "--direct_num_workers=1"],
        "directory": str(tmp_path),
        "streams": str(tmp_path / "std"),
        "seconds_between_renewals": 0.3,
        "environment": server.environment(),
    }
    child = start(run_fsq, **job)
    deadline = time.monotonic() + 100
    # Some parts are uploaded, others not.
    while sum("/unit-" in name for name in server.objects("killed")) < 2:
        assert time.monotonic() < deadline
        assert child.is_alive(), (tmp_path / "std.err").read_text()
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -9
    assert "manifest.json" not in server.objects("killed")
    assert start(run_fsq, **job).wait() == 0, (tmp_path / "std.err").read_text()
    assert "resumed: " in (tmp_path / "std.out").read_text()
    assert comparable(server.objects("killed")) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "s3://no-bucket/photos"}, "s3://no-bucket/photos"),
        (
            {"tokenizer": "s3://no-bucket/t"},
            "found no readable tokenizer.json: no such",
        ),
        ({"output": "s3://no-bucket/out"}, "s3://no-bucket/out: expected a directory that can be"),
        ({"output": "hf://datasets/me/x"}, "hf upload me/x DIR --repo-type dataset."),
        ({"tokenizer": f"s3://k:{SECRET}@b/t"}, "expected no credentials in a path"),
    ],
)
def test_a_place_that_is_not_there_is_one_line(
    server: S3Server, tmp_path: Path, changes: dict[str, str], message: str
):
    places = {
        "source": f"s3://{BUCKET}/photos",
        "tokenizer": f"s3://{BUCKET}/tokenizer",
        "output": f"s3://{BUCKET}/refused",
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(fields(**(places | changes))))
    child = start(
        run_fsq,
        arguments=["tokenize", "job.yaml"],
        directory=str(tmp_path),
        streams=str(tmp_path / "std"),
        environment=server.environment(),
    )
    code = child.wait()
    lines = (tmp_path / "std.err").read_text().splitlines()
    assert message in lines[-1], lines
    assert code == 2
    assert not any("Traceback" in line or SECRET in line for line in lines)
    assert not filesystem.exists(f"s3://{BUCKET}/refused/manifest.json")
