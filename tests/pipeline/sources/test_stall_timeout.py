"""Stall timeout: reads that hang are retried, then given up, and block nothing else."""

import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from builders.jobs import files_of, job_config, job_fields

from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from pipeline.sources.stall_timeout import (
    THREAD_NAME,
    Heartbeat,
    StalledError,
    run_with_stall_timeout,
    stall_reason,
    with_heartbeat,
)
from pipeline.stages.gil_limiter import GilLimiter

# A write into a pipe waits for its reader, and a read for its writer: a hang without a clock.
REASON = "expected to be read within 0.3 s, got nothing in 2 tries"
# For what must end by itself; far more than it takes.
MAX_SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path, small_images: list[bytes]) -> Path:
    for number, data in enumerate(small_images):
        target = tmp_path / "images" / "cats" / f"{number:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path / "images"


@pytest.fixture
def records(tmp_path: Path, small_images: list[bytes]) -> Path:
    """Three TFRecord files of ten."""
    (tmp_path / "records").mkdir()
    for number in range(3):
        frames = []
        for image in small_images[10 * number : 10 * number + 10]:
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(image)
            frames.append(frame(example.SerializeToString()))
        (tmp_path / "records" / f"{number}.tfrecord").write_bytes(b"".join(frames))
    return tmp_path / "records"


# A job that gives a read up soon.
fields = functools.partial(job_fields, read_timeout_seconds=0.3, read_tries=2)
config_of = functools.partial(job_config, read_timeout_seconds=0.3, read_tries=2)


def record_source(folder: Path, damaged: str) -> dict[str, Any]:
    files = f"{folder}/*.tfrecord"
    return {"kind": "tfrecord", "files": files, "image": "image", "damaged": damaged}


@pytest.fixture
def after_listing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something between the listing of a job and its first read."""
    import pipeline.runners.beam_pipeline

    build = pipeline.runners.beam_pipeline.build

    def arrange(deed: Callable[[], None]) -> None:
        def built(*arguments):
            deed()
            return build(*arguments)

        monkeypatch.setattr(pipeline.runners.beam_pipeline, "build", built)

    return arrange


@pytest.fixture
def pipes() -> Iterator[Callable[[Path], None]]:
    """Puts a pipe in the place of a file; the threads that hang on it are let go at the end."""
    made: list[Path] = []

    def replace(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)
        made.append(path)

    yield replace
    for path in made:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        path.unlink()
        os.close(descriptor)


def read_rejects(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "rejects.jsonl").open()]


def test_an_image_whose_read_stalls_is_a_reject_within_the_tolerance(
    folder: Path, tokenizer_directory: Path, tmp_path: Path, after_listing, pipes
):
    after_listing(lambda: [pipes(folder / "cats" / name) for name in ("03.png", "12.png")])
    out = tmp_path / "out"
    summary = tokenize(config_of(folder, tokenizer_directory, out, max_reject_fraction=0.07))
    assert (summary.images_listed, summary.images_written) == (30, 28)
    assert summary.rejects_by_reason == {f"read: {REASON}": 2}
    assert [(r["key"], r["record"]) for r in read_rejects(out)] == [
        ("cats/03.png", 3),
        ("cats/12.png", 12),
    ]
    assert list(verify_dataset(str(out))) == []


def test_an_image_whose_read_stalls_fails_the_run_beyond_the_tolerance(
    folder: Path, tokenizer_directory: Path, tmp_path: Path, after_listing, pipes
):
    after_listing(lambda: pipes(folder / "cats" / "03.png"))
    with pytest.raises(DataError) as error:
        tokenize(config_of(folder, tokenizer_directory, tmp_path / "out"))
    assert f"{REASON}." in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_records_whose_read_stalls_are_rejects_within_the_tolerance(
    records: Path, tokenizer_directory: Path, tmp_path: Path, after_listing, pipes
):
    after_listing(lambda: pipes(records / "1.tfrecord"))
    source = record_source(records, "reject")
    out = tmp_path / "out"
    summary = tokenize(config_of(source, tokenizer_directory, out, max_reject_fraction=0.4))
    assert (summary.images_listed, summary.images_written) == (30, 20)
    assert summary.rejects_by_reason == {f"read: {REASON}": 10}
    assert [r["key"] for r in read_rejects(out)] == [f"1.tfrecord__{n}" for n in range(10)]
    assert list(verify_dataset(str(out))) == []


@pytest.mark.parametrize(("damaged", "tolerance"), [("refuse", 0.4), ("reject", 0.0)])
def test_records_whose_read_stalls_fail_the_run_beyond_the_tolerance(
    records: Path,
    tokenizer_directory: Path,
    tmp_path: Path,
    after_listing,
    pipes,
    damaged: str,
    tolerance: float,
):
    after_listing(lambda: pipes(records / "1.tfrecord"))
    source = record_source(records, damaged)
    out = tmp_path / "out"
    config = config_of(source, tokenizer_directory, out, max_reject_fraction=tolerance)
    with pytest.raises(DataError) as error:
        tokenize(config)
    assert re.fullmatch(
        re.escape(f"{records}/1.tfrecord: {REASON}.") + r"( \(1 more units failed\))?",
        str(error.value),
    )


def test_a_read_that_is_slow_but_once_is_tried_again(
    folder: Path, tokenizer_directory: Path, tmp_path: Path, after_listing
):
    tokenize(config_of(folder, tokenizer_directory, tmp_path / "fresh"))
    path = folder / "cats" / "03.png"
    data = path.read_bytes()
    feeders = []

    def feed_the_second_reader() -> None:
        path.unlink()
        os.mkfifo(path)

        def feed() -> None:
            # Opening waits for the first reader, who gets nothing from this end until it is
            # given up; the second reader finds the file back in its place.
            descriptor = os.open(path, os.O_WRONLY)
            path.unlink()
            path.write_bytes(data)
            given_up.wait(MAX_SECONDS)
            os.close(descriptor)

        feeders.append(threading.Thread(target=feed))
        feeders[0].start()

    given_up = threading.Event()
    after_listing(feed_the_second_reader)
    try:
        summary = tokenize(config_of(folder, tokenizer_directory, tmp_path / "out"))
    finally:
        given_up.set()
        feeders[0].join()
    assert (summary.images_listed, summary.images_rejected) == (30, 0)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


def run(*arguments: str, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=MAX_SECONDS, check=False
    )


COMMAND_LINE = "from pipeline.cli import main; main()"
# Puts a pipe in the place of an image once the job is planned, then goes on as the command does.
WITH_A_PIPE = """
import os, sys
import pipeline.planning.plan
make_plan = pipeline.planning.plan.make_plan
def planned(*arguments, **named):
    plan = make_plan(*arguments, **named)
    os.unlink("images/cats/03.png")
    os.mkfifo("images/cats/03.png")
    return plan
pipeline.planning.plan.make_plan = planned
from pipeline.cli import main
main()
"""


@pytest.mark.slow
def test_the_process_ends_while_a_thread_still_hangs(
    folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    config = fields(folder, tokenizer_directory, tmp_path / "out", max_reject_fraction=0.1)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    done = run("tokenize", "job.yaml", code=WITH_A_PIPE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *_, first, second, last = done.stdout.splitlines()
    assert (first, second) == (f"rejected: 1 read: {REASON}", "rejected: 1 of 30 in cats")
    assert last == (
        f"{tmp_path}/out: 29 records in 3 shards; 30 images listed = 29 written + 1 rejected"
    )


@pytest.mark.slow
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_listing_that_hangs_ends_in_one_line(
    records: Path, tokenizer_directory: Path, tmp_path: Path, dry: list[str]
):
    (records / "1.tfrecord").unlink()
    os.mkfifo(records / "1.tfrecord")
    source = record_source(records, "reject")
    config = fields(source, tokenizer_directory, tmp_path / "out", max_reject_fraction=1)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    done = run("tokenize", "job.yaml", *dry, code=COMMAND_LINE, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"fsq: source: {REASON}.\n")
    assert not (tmp_path / "out").exists()


def hang(until: threading.Event) -> None:
    assert until.wait(MAX_SECONDS)


def test_work_that_stalls_is_started_again_and_its_result_is_that_of_the_last_try():
    released, tries, ends = threading.Event(), [], []

    def work(heartbeat: Heartbeat) -> str:
        tries.append(heartbeat)
        number = len(tries)
        heartbeat.start_read()
        if number == 1:
            hang(released)
        heartbeat.end_read()
        ends.append(number)
        return f"result {number}"

    assert run_with_stall_timeout(work, timeout_seconds=0.1, tries=2, where="here") == "result 2"
    released.set()
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join()
    # What was given up ends where it would have gone on: it commits nothing.
    assert ends == [2]


def test_work_that_always_stalls_says_how_far_it_came():
    released = threading.Event()

    def records(count: int) -> Iterator[int]:
        yield from range(count)
        hang(released)

    counts = iter([5, 3])

    def work(heartbeat: Heartbeat) -> list[int]:
        return list(with_heartbeat(records(next(counts)), heartbeat))

    with pytest.raises(StalledError) as error:
        run_with_stall_timeout(work, timeout_seconds=0.1, tries=2, where="a file")
    released.set()
    assert str(error.value) == f"a file: {stall_reason(0.1, 2)}."
    assert error.value.count == 5


def test_an_error_is_passed_on_and_not_tried_again():
    tries = []

    def work(heartbeat: Heartbeat) -> None:
        tries.append(heartbeat)
        raise OSError(5, "Input/output error", "a file")

    with pytest.raises(OSError, match="Input/output error"):
        run_with_stall_timeout(work, timeout_seconds=10, tries=3, where="a file")
    assert len(tries) == 1


def test_long_work_between_two_records_is_no_stall():
    def work(heartbeat: Heartbeat) -> str:
        heartbeat.start_read()
        heartbeat.end_read()
        time.sleep(0.3)
        heartbeat.idle()
        return "done"

    assert run_with_stall_timeout(work, timeout_seconds=0.1, tries=1, where="here") == "done"


def test_cancelled_work_ends_at_its_next_heartbeat_whichever_that_is():
    for call in (Heartbeat.start_read, Heartbeat.end_read, Heartbeat.idle):
        heartbeat = Heartbeat()
        heartbeat.cancel()
        # No Exception: nothing that catches errors of the input may take it for one.
        with pytest.raises(BaseException, match=r"^$") as caught:
            call(heartbeat)
        assert not isinstance(caught.value, Exception)


def test_a_thread_that_hangs_releases_the_gil_limiter():
    released, taken = threading.Event(), threading.Event()

    def work(heartbeat: Heartbeat) -> None:
        limiter = GilLimiter()
        heartbeat.on_cancel = limiter.release
        with limiter:
            heartbeat.start_read()
            taken.set()
            hang(released)

    with pytest.raises(StalledError):
        run_with_stall_timeout(work, timeout_seconds=0.1, tries=1, where="here")
    assert taken.is_set()
    with GilLimiter() as mine:
        assert mine._held
    # Once given up, it is not given up again in the place of whoever has it now.
    with GilLimiter() as mine:
        released.set()
        for thread in threading.enumerate():
            if thread.name == THREAD_NAME:
                thread.join()
        assert mine._held and GilLimiter._only_one.locked()
