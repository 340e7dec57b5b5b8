"""The plug point of shard formats: a new one needs a file and a line in the registry, no more."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig

from fsq.dataset.formats import FORMATS, ShardFormat
from fsq.dataset.formats.tfrecord import payload
from fsq.errors import DataError
from fsq.storage import filesystem
from pipeline.job.config import TokenizeConfig
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize


class HexWriter:
    """Writes a record as a line of hexadecimal digits."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, frames: Sequence[bytes]) -> None:
        self.lines += [payload(framed).hex() for framed in frames]


@contextlib.contextmanager
def open_hex_writer(path: str) -> Iterator[HexWriter]:
    writer = HexWriter()
    yield writer
    filesystem.write(path, "".join(f"{line}\n" for line in writer.lines).encode())


def read_hex(path: str) -> Iterator[bytes]:
    for number, line in enumerate(filesystem.read(path).decode().splitlines()):
        try:
            yield bytes.fromhex(line)
        except ValueError as error:
            raise DataError(f"{path}: record {number}: expected hexadecimal digits.") from error


HEX = ShardFormat("hex", "hexadecimal digits", open_hex_writer, read_hex)


@pytest.fixture
def config(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> TokenizeConfig:
    monkeypatch.setitem(FORMATS, HEX.name, HEX)
    return make_config(output={"num_shards": 2, "formats": ["hex", "array_record", "tfrecord"]})


def test_a_new_format_is_written_verified_and_shown(config: TokenizeConfig):
    directory = config.output.directory
    assert tokenize(config).records == 100
    first = Path(directory, "pets-train.hex-00000-of-00002")
    records = list(FORMATS["tfrecord"].read(str(first).replace("hex", "tfrecord")))
    assert list(read_hex(str(first))) == records
    assert list(verify_dataset(directory)) == []
    assert dict(inspect_directory(directory))["records"] == (
        "100 in 2 shards, as TFRecord and as ArrayRecord and as hexadecimal digits"
    )
    # One that tensorflow-datasets does not know is no news to it.
    assert len(tfds.builder_from_directory(directory).as_data_source(split="train")) == 100


def test_damage_in_a_new_format_is_found(config: TokenizeConfig):
    directory = config.output.directory
    tokenize(config)
    first = Path(directory, "pets-train.hex-00000-of-00002")
    lines = first.read_text().splitlines()
    first.write_text("\n".join([lines[1], lines[0], *lines[2:], ""]))
    (problem,) = verify_dataset(directory)
    assert re.search(r"pets-train\.hex-00000-of-00002: expected sha256", problem)


def test_a_format_is_named_in_its_own_file_and_the_registry_alone(root: Path):
    named = {
        path.relative_to(root).as_posix()
        for package in ("fsq", "pipeline")
        for path in (root / package).rglob("*.py")
        if re.search("array.?record", path.read_text(), re.IGNORECASE)
    }
    assert named == {
        "fsq/dataset/formats/__init__.py",
        "fsq/dataset/formats/array_record.py",
        # Users are told which option gives records by their numbers.
        "fsq/dataset/__init__.py",
        "fsq/dataset/token_source.py",
        # The docstring of `output.formats`, which the page of all keys repeats.
        "pipeline/job/config.py",
        # As input: a source, a format of tensorflow-datasets, and what may be given for a TFRecord.
        "pipeline/sources/__init__.py",
        "pipeline/sources/array_record.py",
        "pipeline/sources/other_formats.py",
        "pipeline/sources/tfds.py",
    }
