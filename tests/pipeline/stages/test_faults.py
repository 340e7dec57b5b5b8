"""Faults of the disk and of the program between two stages end the job; nothing is lost."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.jobs import MakeConfig, files_of

import pipeline.stages.encode_units
from fsq.dataset.formats import array_record
from fsq.errors import DataError
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.storage import filesystem
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize
from pipeline.stages.batching import UnitBatches

pytestmark = pytest.mark.slow

LIMIT = 32


@pytest.fixture
def expected(make_config: MakeConfig) -> dict[str, bytes]:
    """The files of an undisturbed job."""
    config = make_config("undisturbed")
    tokenize(config, limit=LIMIT)
    return files_of(config.output.directory)


def check_unfinished(config: TokenizeConfig) -> None:
    """Neither a shard nor a manifest stands under its name."""
    names = {path.name for path in Path(config.output.directory).iterdir()}
    assert names <= {".work", "rejects.jsonl"}


def check_goes_on(config: TokenizeConfig, expected: dict[str, bytes]) -> None:
    """The same command ends in the bytes of an undisturbed job."""
    tokenize(config, limit=LIMIT)
    assert files_of(config.output.directory) == expected
    assert list(verify_dataset(config.output.directory)) == []


def flip(path: str, position: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[position] ^= 1
    Path(path).write_bytes(data)


@pytest.mark.parametrize("position", [8 + 20, 8 + 3 * 32 + 4, -40])
def test_a_part_that_is_damaged_after_its_unit_ends_the_job(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    position: int,
):
    """In the header of a shard, in a row, and in a record."""
    commit_part = pipeline.stages.encode_units.commit_part

    def commit_and_damage(job: Job, unit_name: str, *rest: object) -> None:
        commit_part(job, unit_name, *rest)
        if unit_name == "unit-000001":
            flip(job.part(unit_name), position)

    config = make_config()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.encode_units, "commit_part", commit_and_damage)
        message = r"unit-000001\.part: expected data with its checksums, got damage in shard \d\. "
        with pytest.raises(DataError, match=message + "Run the same command again"):
            tokenize(config, limit=LIMIT)
    assert not Path(config.output.directory, "manifest.json").exists()
    check_goes_on(config, expected)


def damage_tfrecord(monkeypatch: pytest.MonkeyPatch, part_of_name: str) -> None:
    synchronise = filesystem._synchronise

    def synchronise_and_damage(path: str) -> None:
        synchronise(path)
        if part_of_name in path:
            flip(path, 300)

    monkeypatch.setattr(filesystem, "_synchronise", synchronise_and_damage)


def damage_array_record(monkeypatch: pytest.MonkeyPatch, part_of_name: str) -> None:
    close = array_record._Writer.close

    def close_and_damage(self: array_record._Writer) -> None:
        close(self)
        for path in map(str, Path(self._path).parent.glob(f".*{part_of_name}*")):
            reader = array_record.open_reader(path, path)
            records = reader.read(0, reader.num_records())
            library = array_record._import_library()
            writer = library.ArrayRecordWriter(path, array_record.WRITER_OPTIONS)
            for record in records[1:]:
                writer.write(record)
            writer.close()

    monkeypatch.setattr(array_record._Writer, "close", close_and_damage)


@pytest.mark.parametrize(
    ("damaged", "damage"),
    [("tfrecord", damage_tfrecord), ("array_record", damage_array_record)],
)
def test_a_shard_that_reads_back_otherwise_ends_the_job(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    damaged: str,
    damage: Callable[[pytest.MonkeyPatch, str], None],
):
    """A disk that holds other bytes than were written to it."""
    output = {"formats": ["tfrecord", "array_record"]}
    config = make_config(output=output)
    with monkeypatch.context() as patch:
        damage(patch, f"{damaged}-00001-of-00003")
        with pytest.raises(
            DataError, match=f"{damaged}-00001-of-00003: expected .* The disk is faulty;"
        ):
            tokenize(config, limit=LIMIT)
    names = {path.name for path in Path(config.output.directory).iterdir()}
    assert "manifest.json" not in names
    assert not [name for name in names if "-00001-of-" in name]
    whole = make_config("whole", output=output)
    tokenize(whole, limit=LIMIT)
    check_goes_on(config, files_of(whole.output.directory))


def fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    encode_batch = BatchEncoder.encode_batch
    monkeypatch.setattr(BatchEncoder, "encode_batch", lambda *args: encode_batch(*args)[:-1])


def more_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    encode_batch = BatchEncoder.encode_batch

    def twice(self: BatchEncoder, images: np.ndarray) -> np.ndarray:
        return np.concatenate([encode_batch(self, images)] * 2)

    monkeypatch.setattr(BatchEncoder, "encode_batch", twice)


def a_lost_view(monkeypatch: pytest.MonkeyPatch) -> None:
    add = UnitBatches.add

    def lose(self: UnitBatches, view, pixels: np.ndarray) -> None:
        if view.key != "cats/005.png":
            add(self, view, pixels)

    monkeypatch.setattr(UnitBatches, "add", lose)


def a_lost_record(monkeypatch: pytest.MonkeyPatch) -> None:
    records = UnitBatches.records

    def lose(self: UnitBatches, *rest: object):
        placed, written = records(self, *rest)
        return placed[1:], written

    monkeypatch.setattr(UnitBatches, "records", lose)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fewer_tokens, r"ValueError.*zip\(\) argument 2 is shorter than argument 1"),
        (more_tokens, r"ValueError.*zip\(\) argument 2 is longer than argument 1"),
        (
            a_lost_view,
            r"expected .* images written or rejected, .* This is a bug;",
        ),
        (a_lost_record, r"expected 32 records in the shards, got 28\."),
    ],
)
def test_a_batch_that_loses_a_record_is_a_fault_of_the_program(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
    message: str,
):
    config = make_config()
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises((DataError, RuntimeError, ValueError)) as error:
            tokenize(config, limit=LIMIT)
    text = f"{type(error.value).__name__} {error.value}"
    assert re.search(message, text), text
    assert not Path(config.output.directory, "manifest.json").exists()
