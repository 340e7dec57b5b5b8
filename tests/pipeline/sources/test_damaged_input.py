"""Damaged input is refused in one line or counted, image by image; nothing is lost in silence."""

import json
import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig

from fsq.cores import count_cores
from fsq.dataset.formats.tfrecord import WRONG_DATA, frame
from fsq.errors import DataError, RequestError
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.tokenizer import Tokenizer
from pipeline.job.config import TokenizeConfig
from pipeline.reports.verify import verify_dataset
from pipeline.run import Summary, tokenize
from pipeline.sources.directory_walk import BROKEN_LINK, LINK_OUTSIDE, NOT_A_FILE
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfrecord import TfrecordConfig

pytestmark = pytest.mark.slow

SHARDS, RECORDS = 4, 10  # of the family below; records of each shard
KINDS = ("tfrecord", "tfds")


def shard(folder: Path, number: int) -> Path:
    return folder / f"pets-train.tfrecord-{number:05d}-of-{SHARDS:05d}"


def example_of(image: bytes) -> bytes:
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(image)
    return example.SerializeToString()


@pytest.fixture
def family(tmp_path: Path, small_images: list[bytes]) -> Path:
    """Four shards of ten records, which both kinds of source read."""
    folder = tmp_path / "pets"
    folder.mkdir()
    examples = [frame(example_of(image)) for image in small_images * 2][: SHARDS * RECORDS]
    for number in range(SHARDS):
        records = examples[number * RECORDS : (number + 1) * RECORDS]
        shard(folder, number).write_bytes(b"".join(records))
    write_metadata(folder, [RECORDS] * SHARDS)
    return folder


def write_metadata(folder: Path, counts: list[int]) -> None:
    template = tfds.core.ShardedFileTemplate(
        dataset_name="pets", data_dir=folder, split="train", filetype_suffix="tfrecord"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(None, None, 3))}),
        split_infos=[tfds.core.SplitInfo("train", counts, 0, template)],
        version="1.0.0",
        check_data=False,
    )


def source_of(kind: str, folder: Path, damaged: str) -> dict[str, Any]:
    if kind == "tfds":
        return {"kind": kind, "directory": str(folder), "split": "train", "damaged": damaged}
    return {"kind": kind, "files": f"{folder}/pets-*", "image": "image", "damaged": damaged}


def record_offset(path: Path, record: int) -> int:
    """The byte where a record begins."""
    data, offset = path.read_bytes(), 0
    for _ in range(record):
        offset += 16 + int.from_bytes(data[offset : offset + 8], "little")
    return offset


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def cut_off(folder: Path) -> None:
    path = shard(folder, 1)
    path.write_bytes(path.read_bytes()[: record_offset(path, 6) + 20])


def corrupt_data(folder: Path) -> None:
    flip(shard(folder, 1), record_offset(shard(folder, 1), 4) + 30)


def corrupt_first_data(folder: Path) -> None:
    flip(shard(folder, 0), 30)


def corrupt_header(folder: Path) -> None:
    flip(shard(folder, 1), record_offset(shard(folder, 1), 4) + 9)


def empty(folder: Path) -> None:
    shard(folder, 1).write_bytes(b"")


def remove(folder: Path) -> None:
    shard(folder, 1).unlink()


def put_a_folder_there(folder: Path) -> None:
    remove(folder)
    shard(folder, 1).mkdir()


def put_a_broken_link_there(folder: Path) -> None:
    remove(folder)
    shard(folder, 1).symlink_to(folder / "nothing")


# What is damaged; the shard; the reason; which records are unreadable if the file is known to hold
# ten, and which if that is unknown: one after the last readable one.
DAMAGES: list[tuple[Callable[[Path], None], int, str, range, range]] = [
    (cut_off, 1, "record 6: expected it to end at byte ", range(6, 10), range(6, 7)),
    (corrupt_data, 1, f"record 4: {WRONG_DATA}", range(4, 5), range(4, 5)),
    (corrupt_first_data, 0, f"record 0: {WRONG_DATA}", range(1), range(1)),
    (
        corrupt_header,
        1,
        "record 4: expected a TFRecord, got a damaged header: what follows byte ",
        range(4, 10),
        range(4, 5),
    ),
    (empty, 1, "expected records, got an empty file", range(10), range(1)),
    (remove, 1, "No such file or directory", range(10), range(1)),
    (put_a_folder_there, 1, "Is a directory", range(10), range(1)),
    (put_a_broken_link_there, 1, "No such file or directory", range(10), range(1)),
]
damages = pytest.mark.parametrize(
    ("damage", "number", "reason", "known", "unknown"),
    DAMAGES,
    ids=[damage[0].__name__ for damage in DAMAGES],
)


def read_rejects(directory: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(directory) / "rejects.jsonl").open()]


def check_accounts(config: TokenizeConfig, summary: Summary) -> dict[str, Any]:
    """All that a dataset says of its images agrees; returns what it says by source file."""
    directory = Path(config.output.directory)
    assert list(verify_dataset(str(directory))) == []
    manifest = json.loads((directory / "manifest.json").read_text())
    by_file = json.loads((directory / "stats.json").read_text())["by_file"]
    rejects = read_rejects(str(directory))
    for name, file in by_file.items():
        assert file["listed"] == file["written"] + sum(file["rejected"].values()), name
    assert manifest["images_listed"] == sum(file["listed"] for file in by_file.values())
    assert manifest["images_written"] == sum(file["written"] for file in by_file.values())
    assert manifest["images_rejected"] == len(rejects) == summary.images_rejected
    assert manifest["records"] == manifest["images_written"] * len(config.views)
    reasons = Counter(f"{reject['stage']}: {reject['reason']}" for reject in rejects)
    assert manifest["rejects_by_reason"] == dict(reasons) == summary.rejects_by_reason
    for name, file in by_file.items():
        del file["content"]
        own = [r for r in rejects if r["file"] == name]
        assert file["rejected"] == Counter(f"{r['stage']}: {r['reason']}" for r in own)
    return by_file


@damages
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_record_file_is_refused_in_one_line(
    make_config: MakeConfig, family: Path, kind: str, damage, number, reason, known, unknown
):
    damage(family)
    config = make_config(source=source_of(kind, family, "refuse"))
    with pytest.raises(DataError) as error:
        tokenize(config)
    assert str(error.value).startswith(f"{shard(family, number)}: ")
    assert reason in str(error.value)
    assert "source.damaged" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (Path(config.output.directory) / "manifest.json").exists()


@damages
@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_records_of_a_damaged_file_are_rejected_one_by_one(
    make_config: MakeConfig, family: Path, kind: str, damage, number, reason, known, unknown
):
    damage(family)
    config = make_config(source=source_of(kind, family, "reject"), max_reject_fraction=1)
    by_file = check_accounts(config, tokenize(config))
    unreadable = known if kind == "tfds" else unknown
    name = shard(family, number).name
    rejects = read_rejects(config.output.directory)
    assert [(r["key"], r["file"], r["record"], r["stage"]) for r in rejects] == [
        (f"{name}__{record}", name, record, "read") for record in unreadable
    ]
    # The number of a single record stands in a field of its own.
    why = reason.removeprefix(f"record {number and 4}: ") if WRONG_DATA in reason else reason
    assert all(why in r["reason"] for r in rejects)
    readable_records = {corrupt_data: 9, corrupt_first_data: 9, cut_off: 6, corrupt_header: 4}
    readable = readable_records.get(damage, 0)
    whole = {"listed": RECORDS, "written": RECORDS, "rejected": {}}
    counted = dict(Counter(f"read: {r['reason']}" for r in rejects))
    damaged = {"listed": readable + len(unreadable), "written": readable, "rejected": counted}
    assert by_file == {
        shard(family, n).name: damaged if n == number else whole for n in range(SHARDS)
    }


@pytest.mark.parametrize("says", [RECORDS + 3, RECORDS - 3])
def test_counts_of_a_prepared_dataset_that_lie_are_found(
    make_config: MakeConfig, family: Path, says: int
):
    write_metadata(family, [RECORDS, says, RECORDS, RECORDS])
    message = f"expected {says} records as dataset_info.json says, got {RECORDS}"
    with pytest.raises(DataError) as error:
        tokenize(make_config(source=source_of("tfds", family, "refuse")))
    assert str(error.value).startswith(f"{shard(family, 1)}: {message}. ")
    config = make_config(source=source_of("tfds", family, "reject"), max_reject_fraction=0.1)
    by_file = check_accounts(config, tokenize(config))
    assert by_file[shard(family, 1).name] == {
        "listed": max(says, RECORDS),
        "written": min(says, RECORDS),
        "rejected": {f"read: {message}": 3},
    }


def test_what_fits_a_pattern_and_is_no_file_is_not_passed_over(tmp_path: Path, family: Path):
    # No family of shards says that this one should be there; its name does.
    (family / "pets-more").symlink_to(tmp_path / "nothing")
    config = TfrecordConfig.model_validate(source_of("tfrecord", family, "refuse"))
    with pytest.raises(DataError, match=r"pets-more: expected a file that can be read, got: No su"):
        config.open().list()
    (family / "pets-more").unlink()
    (family / "pets-more").mkdir()
    with pytest.raises(DataError, match=r"pets-more: expected a file that can be read, got: Is a"):
        config.open().list()


def test_an_input_of_which_nothing_is_left_is_refused(make_config: MakeConfig, family: Path):
    for number in range(SHARDS):
        shard(family, number).write_bytes(b"")
    for kind in KINDS:
        with pytest.raises(DataError, match=r"expected records, got none in 4 file\(s\)\.$"):
            tokenize(make_config(source=source_of(kind, family, "reject"), max_reject_fraction=1))


def test_damage_that_comes_after_the_listing_is_counted_too(
    make_config: MakeConfig, family: Path, monkeypatch: pytest.MonkeyPatch
):
    import pipeline.runners.beam_pipeline

    def cut_then_build(*arguments):
        cut_off(family)
        return build(*arguments)

    build = pipeline.runners.beam_pipeline.build
    monkeypatch.setattr(pipeline.runners.beam_pipeline, "build", cut_then_build)
    config = make_config(source=source_of("tfrecord", family, "reject"), max_reject_fraction=0.1)
    by_file = check_accounts(config, tokenize(config))
    assert by_file[shard(family, 1).name]["written"] == 6
    assert [r["record"] for r in read_rejects(config.output.directory)] == [6, 7, 8, 9]


def write_folder(folder: Path, images: list[bytes], count: int) -> None:
    for number in range(count):
        target = folder / ("cats" if number % 2 else "dogs") / f"{number:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(images[number % len(images)])


def test_too_many_rejects_stop_a_job_early(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import pipeline.stages.encode_units

    encode_unit = pipeline.stages.encode_units.encode_unit
    begun = []

    def counting(unit, *rest, **named):
        begun.append(unit.name)
        return encode_unit(unit, *rest, **named)

    monkeypatch.setattr(pipeline.stages.encode_units, "encode_unit", counting)
    write_folder(tmp_path / "images", [b"no image"], 400)
    config = make_config(source=tmp_path / "images", max_reject_fraction=0.02)
    with pytest.raises(DataError) as error:
        tokenize(config)
    # 50 units of 8 images: the second is one too many; each worker may have begun another.
    workers = count_cores() + 1
    assert 2 <= len(begun) <= 2 + workers
    assert "expected at most 0.02 of 400 images rejected, got " in str(error.value)
    assert re.search(
        r"got (\d+) among the first \1, then stopped: \w+/\d+\.png: decode: expected one of",
        str(error.value),
    )


def corrupt_weights(
    directory: Path, target: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Saves a tokenizer whose last weights before the latents are others."""
    autoencoder = Tokenizer.load(directory)._autoencoder
    kernel = next(
        variable
        for variable in reversed(autoencoder.encoder.variables)
        if variable.path.endswith("kernel")
    )
    kernel.assign(change(np.array(kernel)))
    Tokenizer.of(autoencoder).save(target)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_reject_every_image_at_the_encoder(
    make_config: MakeConfig, tokenizer_directory: Path, tmp_path: Path, small_images, value: float
):
    corrupt_weights(tokenizer_directory, tmp_path / "bad", lambda k: np.full_like(k, value))
    write_folder(tmp_path / "images", small_images, 20)
    config = make_config(
        source=tmp_path / "images", tokenizer=str(tmp_path / "bad"), max_reject_fraction=1
    )
    summary = tokenize(config)
    assert summary.rejects_by_reason == {"encode: expected finite latents, got NaN or infinity": 20}
    check_accounts(config, summary)
    config = config.model_copy(update={"max_reject_fraction": 0.5})
    with pytest.raises(DataError, match=r"expected at most 0\.5 of 20 images rejected, got "):
        tokenize(config, overwrite=True)


def test_an_overflow_in_some_images_costs_no_other(
    make_config: MakeConfig, tokenizer_directory: Path, tmp_path: Path, small_images: list[bytes]
):
    # The largest latent of these images lies between 2 and 3.3.
    factor = np.finfo(np.float32).max / np.float32(2.45)
    corrupt_weights(tokenizer_directory, tmp_path / "bad", lambda kernel: kernel * factor)
    write_folder(tmp_path / "images", small_images, 30)
    config = make_config(
        source=tmp_path / "images", tokenizer=str(tmp_path / "bad"), max_reject_fraction=1
    )
    summary = tokenize(config)
    check_accounts(config, summary)
    assert 0 < summary.images_rejected < 30


def test_a_token_beyond_the_vocabulary_ends_the_job_before_anything_is_written(
    make_config: MakeConfig, tmp_path: Path, small_images, monkeypatch: pytest.MonkeyPatch
):
    encode_batch = BatchEncoder.encode_batch

    def beyond(self, images):
        tokens = encode_batch(self, images)
        tokens[-1, -1, -1] = 60
        return tokens

    monkeypatch.setattr(BatchEncoder, "encode_batch", beyond)
    write_folder(tmp_path / "images", small_images, 20)
    config = make_config(source=tmp_path / "images", max_reject_fraction=1)
    with pytest.raises(DataError, match=r"expected tokens below 60 in the batch .*, got 60\. Set"):
        tokenize(config)
    output = Path(config.output.directory)
    assert [p for p in output.rglob("*") if p.suffix == ".part" or ".tfrecord-" in p.name] == []


@pytest.fixture
def linked(tmp_path: Path, small_images: list[bytes]) -> Path:
    """A folder with every kind of thing that is no plain image."""
    inside, outside = tmp_path / "images", tmp_path / "elsewhere"
    write_folder(inside, small_images, 4)
    write_folder(outside / "birds", small_images, 2)
    cats = inside / "cats"
    (cats / "in.png").symlink_to(inside / "dogs" / "000.png")
    (cats / "out.png").symlink_to(outside / "birds" / "dogs" / "000.png")
    (cats / "nothing.png").symlink_to(tmp_path / "nothing.png")
    (cats / "itself.png").symlink_to(cats / "itself.png")
    (inside / "birds").symlink_to(outside / "birds")
    (inside / "again").symlink_to(inside / "dogs")
    (cats / "up").symlink_to(inside)
    (outside / "birds" / "round").symlink_to(outside / "birds")
    os.mkfifo(cats / "pipe.jpg")
    os.mknod(cats / "socket.jpg", stat.S_IFSOCK | 0o600)
    (inside / "notes.txt").write_text("no image")
    (inside / "dogs" / "README").write_text("no image")
    (inside / ".thumbs.png").write_bytes(b"")
    return inside


@pytest.mark.parametrize("follow", [False, True])
def test_links_lead_nowhere_unasked_and_nothing_is_read_for_ever(
    make_config: MakeConfig, linked: Path, follow: bool
):
    source = {"kind": "image_folder", "directory": str(linked), "labels": False}
    source["follow_links"] = follow
    if not follow:
        (linked / "birds").unlink()  # a linked folder ends the job
    listing = ImageFolderConfig.model_validate(source).open().list()
    read_elsewhere = listing.left_out.pop("links to folders that are read at their own place")
    assert read_elsewhere == (3 if follow else 2)
    assert listing.left_out == {".txt": 1, "no ending": 1, "hidden": 1}
    config = make_config(source=source, max_reject_fraction=1)
    summary = tokenize(config)
    check_accounts(config, summary)
    reasons = {r["key"]: r["reason"] for r in read_rejects(config.output.directory)}
    expected = {
        "cats/nothing.png": BROKEN_LINK,
        "cats/itself.png": BROKEN_LINK,
        "cats/pipe.jpg": NOT_A_FILE,
        "cats/socket.jpg": NOT_A_FILE,
    }
    if not follow:
        expected["cats/out.png"] = LINK_OUTSIDE
    assert reasons == expected
    # in.png besides the four images; if links are followed also out.png and the two birds.
    assert summary.images_written == (8 if follow else 5)


def test_images_that_are_damaged_or_gone_are_rejects_with_their_reason(
    make_config: MakeConfig, tmp_path: Path, small_images, monkeypatch: pytest.MonkeyPatch
):
    import pipeline.runners.beam_pipeline

    images = tmp_path / "images"
    write_folder(images, small_images, 10)
    (images / "cats" / "001.png").write_bytes(b"")
    (images / "cats" / "003.png").write_bytes(small_images[0][:50])

    def corrupt_then_build(*arguments):
        (images / "dogs" / "000.png").unlink()
        (images / "dogs" / "002.png").unlink()
        (images / "dogs" / "002.png").mkdir()
        (images / "dogs" / "004.png").write_bytes(b"short")
        return build(*arguments)

    build = pipeline.runners.beam_pipeline.build
    monkeypatch.setattr(pipeline.runners.beam_pipeline, "build", corrupt_then_build)
    config = make_config(source=images, max_reject_fraction=0.5)
    check_accounts(config, tokenize(config))
    rejects = {r["key"]: (r["stage"], r["reason"]) for r in read_rejects(config.output.directory)}
    size = len(small_images[4])
    assert rejects.pop("cats/003.png")[0] == "decode"
    assert rejects == {
        "cats/001.png": ("decode", "expected an image, got 0 bytes"),
        "dogs/000.png": (
            "read",
            "expected a file that can be read, got: No such file or directory",
        ),
        "dogs/002.png": ("read", "expected a file that can be read, got: Is a directory"),
        "dogs/004.png": ("read", f"expected {size:,} bytes as listed, got 5: file changed"),
    }


def test_a_number_of_classes_that_cannot_be_is_refused_at_once(root: Path, tmp_path: Path):
    prepared = tmp_path / "prepared"
    shutil.copytree(root / "samples" / "fashion_mnist", prepared)
    text = (prepared / "features.json").read_text()
    many = re.sub(r'"numClasses": "10"', '"numClasses": "2147483648"', text)
    assert many != text
    (prepared / "features.json").write_text(many)
    source = {"kind": "tfds", "directory": str(prepared), "split": "test", "carry": ["label"]}
    (prepared / "label.labels.txt").unlink(missing_ok=True)
    with pytest.raises(
        RequestError, match="at most 1,000,000 classes of 'label', got 2,147,483,64"
    ):
        TfdsConfig.model_validate(source).open().list(8)
