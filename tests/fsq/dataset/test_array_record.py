"""ArrayRecord files beside TFRecords: the same records under the same promises."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from builders.jobs import job_config

from fsq.dataset import SequenceSpec, TokenBatches, TokenSource
from fsq.dataset.formats.array_record import open_reader, open_writer
from fsq.dataset.formats.array_record import read_file as read_array_record
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import DataError, RequestError
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import render
from pipeline.job.config import TokenizeConfig
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize
from tools.random_tokens import write_random_tokens

RECORDS = [b"first", b"", bytes(range(256)) * 9, b"last"]
TWIN = "pets-train.array_record-00001-of-00003"


def write(path: Path, records: list[bytes]) -> None:
    with open_writer(str(path)) as writer:
        writer.write([frame(record) for record in records])


@pytest.mark.parametrize("records", [[], RECORDS, RECORDS * 700])
def test_records_are_read_back_in_order_and_by_number(tmp_path: Path, records: list[bytes]):
    path = tmp_path / "x"
    write(path, records)
    assert list(read_array_record(str(path))) == records
    reader = open_reader(str(path), "x")
    for number in range(0, len(records), 97):
        assert reader.read(number, number + 1) == [records[number]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    write(tmp_path / "y", records)
    assert (tmp_path / "y").read_bytes() == path.read_bytes()


def test_a_file_in_a_store_is_written_and_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tools import disk_filesystem as _  # noqa: F401 - makes disk:// known

    monkeypatch.chdir(tmp_path)
    with open_writer("disk://x") as writer:
        writer.write([frame(record) for record in RECORDS])
    assert list(read_array_record("disk://x")) == RECORDS
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path):
    with pytest.raises(KeyError), open_writer(str(tmp_path / "x")) as writer:
        writer.write([frame(b"record")])
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fsq.storage.filesystem.temporary_name", lambda path: "/dev/full")
    monkeypatch.setattr("fsq.storage.filesystem.remove", lambda path: None)
    with pytest.raises(OSError) as error, open_writer(str(tmp_path / "x")) as writer:
        writer.write([frame(b"record" * 1_000_000)])
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "x"))


def test_a_folder_that_is_gone_is_an_error_of_the_system(tmp_path: Path):
    path = str(tmp_path / "gone" / "x")
    with pytest.raises(OSError) as error, open_writer(path):
        pass
    assert error.value.filename == path
    assert not (tmp_path / "gone").exists()


def test_a_file_that_is_removed_meanwhile_is_named_by_its_final_name(tmp_path: Path):
    path = tmp_path / "x"
    with pytest.raises(FileNotFoundError) as error, open_writer(str(path)) as writer:
        writer.write([frame(b"record")])
        for temporary in tmp_path.iterdir():
            temporary.unlink()
    assert error.value.filename == str(path)


@pytest.mark.parametrize("keep", [0, 5, 60_000, -1, -70_000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int):
    path = tmp_path / "x"
    write(path, [os.urandom(600) for _ in range(300)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="x: expected an intact ArrayRecord file, got: a damaged"):
        list(read_array_record(str(path)))


def test_a_flipped_bit_is_noticed(tmp_path: Path):
    path = tmp_path / "x"
    records = [os.urandom(600) for _ in range(300)]
    write(path, records)
    original = path.read_bytes()
    for position in range(0, len(original), 4001):
        data = bytearray(original)
        data[position] ^= 1
        path.write_bytes(data)
        try:
            assert list(read_array_record(str(path))) == records  # padding
        except DataError as error:
            message = f"{path}: expected an intact ArrayRecord file, got: "
            assert str(error).startswith(message) and "\n" not in str(error)


@pytest.fixture(scope="module")
def finished(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "out"
    tokenize(config_of(image_folder, tokenizer_directory, directory))
    return directory


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def config_of(images: Path, tokenizer: Path, directory: Path, **changes) -> TokenizeConfig:
    views, output = ["center", "center_flipped"], {"formats": ["tfrecord", "array_record"]}
    return job_config(images, tokenizer, directory, views=views, output=output, **changes)


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("pets-*"))}


def test_both_formats_hold_the_same_records_and_the_manifest_speaks_of_both(finished: Path):
    assert list(verify_dataset(str(finished))) == []
    facts = dict(inspect_directory(str(finished)))
    assert facts["records"] == "200 in 3 shards, as TFRecord and as ArrayRecord"
    manifest = json.loads((finished / "manifest.json").read_text())
    for number, shard in enumerate(manifest["shards"]):
        twin = shard["other_formats"]["array_record"]
        path = finished / f"pets-train.array_record-0000{number}-of-00003"
        assert twin == {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": sha256_of_file(str(path)),
        }
        records = tf.data.TFRecordDataset(str(finished / shard["file"]))
        assert list(read_array_record(str(path))) == list(records.as_numpy_iterator())
    assert not any("array_record" in name for name in manifest["files"])


def test_tensorflow_datasets_reads_both(finished: Path):
    builder = tfds.builder_from_directory(str(finished))
    theirs = {
        (example["key"], example["view"]): example["tokens"].tolist()
        for example in tfds.as_numpy(builder.as_dataset(split="train"))
    }
    source = builder.as_data_source(split="train")
    assert len(source) == len(theirs) == 200
    for example in source:
        assert theirs[example["key"], example["view"]] == example["tokens"].tolist()


@pytest.mark.slow
def test_the_same_job_gives_the_same_bytes_interrupted_or_not(
    finished: Path,
    image_folder: Path,
    tokenizer_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    import pipeline.stages.merge_shards

    config = config_of(image_folder, tokenizer_directory, tmp_path / "out")
    describe = pipeline.stages.merge_shards.describe_file

    def failing(path: str) -> pipeline.stages.merge_shards.WrittenFile:
        if "00001-of" in path:
            raise OSError(errno.EIO, "Input/output error", path)
        return describe(path)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.merge_shards, "describe_file", failing)
        with pytest.raises(DataError, match="Input/output error"):
            tokenize(config)
    assert tokenize(config).units_resumed == 13
    assert shards(tmp_path / "out") == shards(finished)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in finished.iterdir()
    )


@pytest.mark.slow
def test_cured_rejects_end_in_the_same_bytes(
    finished: Path, image_folder: Path, tokenizer_directory: Path, tmp_path: Path
):
    images = Path(shutil.copytree(image_folder, tmp_path / "images"))
    mended = (images / "cats" / "001.png").read_bytes()
    (images / "cats" / "001.png").write_bytes(b"")
    tokenize(config_of(images, tokenizer_directory, tmp_path / "out", max_reject_fraction=0.1))
    (images / "cats" / "001.png").write_bytes(mended)
    assert retry_rejects(str(tmp_path / "out")).images_retried == 1
    assert shards(tmp_path / "out") == shards(finished)
    assert list(verify_dataset(str(tmp_path / "out"))) == []


def test_a_dataset_in_one_format_is_another_than_in_both(
    dataset: Path, image_folder: Path, tokenizer_directory: Path
):
    config = config_of(image_folder, tokenizer_directory, dataset)
    alone = config.model_copy(
        update={"output": config.output.model_copy(update={"formats": ("tfrecord",)})}
    )
    message = r"formats was \['tfrecord', 'array_record'\], is \['tfrecord'\]\. Choose another dir"
    with pytest.raises(RequestError, match=message):
        tokenize(alone)
    tokenize(alone, overwrite=True)
    assert not list(dataset.glob("*.array_record-*"))
    assert list(verify_dataset(str(dataset))) == []


@pytest.mark.parametrize("formats", [[], ["array_record"], ["tfrecord", "tfrecord"]])
def test_other_combinations_are_refused(formats: list[str], tmp_path: Path):
    config = config_of(tmp_path, tmp_path, tmp_path / "out").model_dump()
    config["output"]["formats"] = formats
    with pytest.raises(ValueError, match=r"expected tfrecord and optionally array_record"):
        TokenizeConfig.model_validate(config)


def flip_a_bit(directory: Path) -> None:
    data = bytearray((directory / TWIN).read_bytes())
    data[len(data) // 3] ^= 1
    (directory / TWIN).write_bytes(data)


def remove(directory: Path) -> None:
    (directory / TWIN).unlink()


def add(directory: Path) -> None:
    (directory / TWIN.replace("00001-of", "00003-of")).write_bytes(b"")


def swap_two_records(directory: Path) -> None:
    """Exchanges two records, and forges what the manifest says."""
    records = list(read_array_record(str(directory / TWIN)))
    write(directory / TWIN, [records[1], records[0], *records[2:]])
    forge(directory)


def drop_the_last(directory: Path) -> None:
    write(directory / TWIN, list(read_array_record(str(directory / TWIN)))[:-1])
    forge(directory)


def forge(directory: Path) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    for shard in manifest["shards"]:
        file = directory / shard["other_formats"]["array_record"]["file"]
        shard["other_formats"]["array_record"] |= {
            "bytes": file.stat().st_size,
            "sha256": sha256_of_file(str(file)),
        }
    path.write_bytes(render(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, f"{TWIN}: expected sha256 "),
        (remove, f"{TWIN}: expected a file, found none."),
        (add, "pets-train.array_record-00003-of-00003: expected no such file in the dataset."),
        (swap_two_records, f"{TWIN}: record 0: expected the same as in pets-train.tfrecord-00001"),
        (drop_the_last, "got none. The dataset is damaged; tokenize it again."),
    ],
)
def test_verify_finds_what_is_wrong(dataset: Path, damage: Callable[[Path], None], message: str):
    damage(dataset)
    (problem,) = verify_dataset(str(dataset))
    assert message in problem


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> str:
    """2,000 images with captions in 3 shards of both formats."""
    directory = tmp_path_factory.mktemp("random") / "out"
    write_random_tokens(directory, images=2000, captions=True, array_record=True)
    return str(directory)


def test_a_source_has_the_records_of_the_shards_in_order(random: str):
    source = TokenSource(random, "train")
    (batch,) = TokenBatches(random, batch_size=2000)
    assert len(source) == 2000
    for number, record in enumerate(source):
        assert record.keys() == batch.keys()
        for name, value in record.items():
            np.testing.assert_array_equal(value, batch[name][number])
    assert record["tokens"].dtype == batch["tokens"].dtype == np.int32
    several = list(range(1990, 10, -7))
    for number, record in zip(several, source.__getitems__(several), strict=True):
        single = source[number]
        assert list(record) == list(single)
        for name, value in record.items():
            assert type(value) is type(single[name])
            np.testing.assert_array_equal(value, single[name])
    assert source[-1]["key"] == source[np.int64(1999)]["key"] == batch["key"][-1]


def test_a_source_gives_sequences_too(random: str):
    spec = SequenceSpec(bos=1005, class_offset=1000, end=1006)
    source = TokenSource(random, sequence=spec, with_labels=True)
    batch = TokenBatches(random, batch_size=9, sequence=spec, with_labels=True)[0]
    assert source.vocab_size == 1007
    for record, tokens, label in zip(
        source.__getitems__(range(40))[:9], batch["tokens"], batch["label"], strict=True
    ):
        np.testing.assert_array_equal(record["tokens"], tokens)
        assert record["tokens"].dtype == np.int32
        assert record["label"] == label
    assert [type(each["label"]) for each in (source[0], source.__getitems__(range(40))[0])] == [
        int,
        int,
    ]


def test_a_source_may_be_pickled_and_asked_by_many_threads(random: str):
    source = TokenSource(random)
    expected = [record["key"] for record in source]
    numbers = np.random.default_rng(0).permutation(2000).tolist()
    copied = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: copied[number]["key"], numbers))
    assert found == [expected[number] for number in numbers]


def test_a_source_refuses_what_it_cannot_read(random: str, tmp_path: Path):
    write_random_tokens(tmp_path / "out", images=20)
    message = (
        r"out: expected ArrayRecord files, found only TFRecord files\. Tokenize it with "
        r"'output\.formats: \[tfrecord, array_record\]'\.$"
    )
    with pytest.raises(RequestError, match=message):
        TokenSource(str(tmp_path / "out"))
    with pytest.raises(RequestError, match=r"^sequence\.length: expected None, because TokenSourc"):
        TokenSource(random, sequence=SequenceSpec(length=99, pad=1000))
    with pytest.raises(
        RequestError, match=r"^gs://bucket/out: expected a local directory, because"
    ):
        TokenSource("gs://bucket/out")
    directory = Path(shutil.copytree(random, tmp_path / "copied"))
    name = "random-train.array_record-00001-of-00003"
    data = (directory / name).read_bytes()
    (directory / name).write_bytes(bytes(len(data)))
    for use in (list, lambda source: source.__getitems__(range(2000))):
        with pytest.raises(DataError, match=rf"{name}: expected an intact ArrayRecord file, got"):
            use(TokenSource(str(directory)))
    source = TokenSource(str(directory))
    (directory / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: expected a shard, got: No such file or direct"):
        list(source)
    (directory / name).write_bytes(data[:-1])
    with pytest.raises(DataError, match=rf"{name}: expected a file of .* bytes, found one of "):
        TokenSource(str(directory))


def test_the_first_record_comes_without_tensorflow_and_beam(random: str):
    code = (
        "import sys; from fsq.dataset import TokenBatches, TokenSource; "
        f"TokenSource({random!r})[7]; TokenBatches({random!r}, batch_size=8)[0]; "
        "print([m for m in ('tensorflow', 'keras', 'apache_beam', 'tensorflow_datasets') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
