"""One contract for all sources: the same images, the same bytes, stable keys."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from builders.sources import (
    SOURCES,
    Images,
    SourceBuilder,
    build_image_folder,
    build_tfds_directory,
    build_tfrecord,
)
from builders.zip_source import ZIP

from fsq.errors import DataError, RequestError
from pipeline.core.records import BadRecord, ImageRecord
from pipeline.sources import SourceConfig
from pipeline.sources.carry import CarryField
from pipeline.sources.image_folder import ImageFolderConfig
from pipeline.sources.tfds import TfdsConfig
from pipeline.sources.tfrecord import TfrecordConfig
from pipeline.sources.units import cut_units, unit_records

# One that a plug-in would bring has to obey the contract too.
EVERY_SOURCE = SOURCES | {"zip": ZIP}
COUNT = 30
LABELS = [0] * (COUNT // 2) + [1] * (COUNT // 2)
NAMES = [f"{'dogs' if label else 'cats'}/{n:02d}.png" for n, label in enumerate(LABELS)]


@pytest.fixture(params=EVERY_SOURCE)
def source(request: pytest.FixtureRequest) -> SourceBuilder:
    return EVERY_SOURCE[request.param]


def named(images: list[bytes]) -> Images:
    return dict(zip(NAMES, images, strict=True))


def read_all(config: SourceConfig, batch_size: int = 8) -> list[ImageRecord | BadRecord]:
    source = config.open()
    with source.list().on_disk() as listing:
        return [
            record
            for unit in cut_units(listing, batch_size)
            for record in source.read(unit, listing.features)
        ]


def test_every_source_gives_each_image_once_with_its_bytes_and_label(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    records = read_all(source.build(tmp_path, named(small_images)))
    assert all(isinstance(record, ImageRecord) for record in records)
    assert [record.data for record in records] == small_images
    assert [record.carried for record in records] == [(label,) for label in LABELS]
    assert len({record.key for record in records}) == len(small_images)


def test_every_source_reads_alike_however_it_is_cut(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    config = source.build(tmp_path, named(small_images))
    assert read_all(config, batch_size=1) == read_all(config, batch_size=1000)


def test_every_source_has_a_digest_that_follows_its_files(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    config = source.build(tmp_path, named(small_images))
    digest = config.open().list().digest()
    assert config.open().list().digest() == digest
    changed = source.build(
        tmp_path / "changed", named([small_images[0] + b"\0", *small_images[1:]])
    )
    assert changed.open().list().digest() != digest


def test_a_limit_takes_the_first_records(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    opened = source.build(tmp_path, named(small_images)).open()
    with opened.list().on_disk() as listing:
        units = cut_units(listing, 8, limit=7)
        records = [record for unit in units for record in opened.read(unit, listing.features)]
    assert [record.data for record in records] == small_images[:7]


def test_every_source_accounts_for_each_record_in_a_group(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    opened = source.build(tmp_path, named(small_images)).open()
    with opened.list().on_disk() as listing:
        counts = Counter(
            opened.group_of(unit, record.key)
            for unit in cut_units(listing, 8)
            for record in opened.read(unit, listing.features)
        )
        assert counts == {name: records for name, (records, _) in listing.groups.items()}
        group = min(listing.groups)
        units = list(opened.units_of(listing, [group]))
        records = [(unit, record) for unit in units for record in opened.read(unit, ())]
    assert [opened.group_of(unit, record.key) for unit, record in records] == [group] * counts[
        group
    ]


def test_every_source_names_its_input(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    assert source.build(tmp_path, named(small_images)).open().describe().startswith(str(tmp_path))


def test_what_did_not_change_is_no_change(
    source: SourceBuilder, tmp_path: Path, small_images: list[bytes]
):
    opened = source.build(tmp_path / "in", named(small_images)).open()
    (tmp_path / "work").mkdir()
    before = opened.list(8).write_to(str(tmp_path / "work"))
    after = opened.list(8)
    assert opened.first_change(str(tmp_path / "work"), after) is None
    assert opened.first_change(str(tmp_path / "nowhere"), after) is None
    for unit in cut_units(before, 8):
        assert opened.first_change(str(tmp_path / "work"), after, unit) is None


def test_a_folder_names_the_first_image_that_changed(tmp_path: Path, small_images: list[bytes]):
    folder, work = tmp_path / "in", tmp_path / "work"
    source = build_image_folder(folder, named(small_images)).open()
    work.mkdir()
    source.list(8).write_to(str(work))
    first_change = lambda unit=None: source.first_change(str(work), source.list(8), unit)

    os.utime(folder / NAMES[3], ns=(1, 1))
    os.utime(folder / NAMES[9], ns=(1, 1))
    assert first_change() is None  # sizes and names are what they were
    first, second, third, *_ = cut_units(source.list(8), 8)
    assert first_change(first) == f"{NAMES[3]} was rewritten"
    assert first_change(second) == f"{NAMES[9]} was rewritten"
    assert first_change(third) is None

    size = len(small_images[9])
    (folder / NAMES[9]).write_bytes(small_images[9] + b"\0")
    assert first_change() == f"{NAMES[9]} was {size:,} bytes, is {size + 1:,} bytes"
    (folder / NAMES[5]).unlink()
    assert first_change() == f"{NAMES[5]} was {len(small_images[5]):,} bytes, is absent"
    (folder / "cats" / "0.png").write_bytes(b"new")
    assert first_change() == "cats/0.png was absent, is 3 bytes"


def test_keys_are_paths_fields_or_tfds_ids(tmp_path: Path, small_images: list[bytes]):
    keys = {
        name: [
            record.key for record in read_all(source.build(tmp_path / name, named(small_images)))
        ]
        for name, source in EVERY_SOURCE.items()
    }
    assert keys == {name: source.keys(NAMES) for name, source in EVERY_SOURCE.items()}
    assert keys["image_folder"] == NAMES
    assert keys["tfrecord"] == NAMES
    assert keys["tfds_directory"][0] == "pets-train.tfrecord-00000-of-00002__0"
    ids = tfds.builder_from_directory(tmp_path / "tfds_directory").as_dataset(
        split="train",
        decoders={"image/encoded": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1),
    )
    theirs = [(e["tfds_id"].decode(), e["image/encoded"]) for e in tfds.as_numpy(ids)]
    assert theirs == list(zip(keys["tfds_directory"], small_images, strict=True))


def test_units_hold_full_batches_and_are_some_64(tmp_path: Path):
    assert unit_records(60_000, 256) == 768
    assert unit_records(2_000, 256) == 256
    assert unit_records(1_281_167, 256) == 4096
    assert unit_records(1, 8) == 8


def test_awkward_file_names_keep_their_bytes(tmp_path: Path, small_images: list[bytes]):
    names = [b"a b.png", b"line\nbreak.png", b"back\\nslash.png", b"[1]*.png", b"\xff\xfe.png"]
    for name in names:
        with open(bytes(tmp_path) + b"/" + name, "wb") as file:
            file.write(small_images[0])
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    config = ImageFolderConfig(kind="image_folder", directory=str(tmp_path), labels=False)
    records = read_all(config)
    assert {record.key.encode("utf-8", "surrogateescape") for record in records} == set(names)
    assert {record.data for record in records} == {small_images[0]}


def test_a_file_that_changes_or_goes_after_the_listing_is_a_bad_record(
    tmp_path: Path, small_images: list[bytes]
):
    config = build_image_folder(tmp_path, named(small_images))
    source = config.open()
    with source.list().on_disk() as listing:
        (tmp_path / NAMES[0]).unlink()
        (tmp_path / NAMES[1]).write_bytes(b"short")
        (unit,) = cut_units(listing, 64)
        records = list(source.read(unit, listing.features))
    assert records[0] == BadRecord(
        NAMES[0], "expected a file that can be read, got: No such file or directory"
    )
    assert isinstance(records[1], BadRecord) and records[1].reason.endswith("got 5: file changed")
    assert all(isinstance(record, ImageRecord) for record in records[2:])


def test_a_listing_that_is_damaged_on_the_way_is_not_read(
    tmp_path: Path, small_images: list[bytes]
):
    source = build_image_folder(tmp_path / "images", named(small_images)).open()
    with source.list().on_disk() as listing:
        (unit,) = cut_units(listing, 64)
        path = Path(listing.files[0].path)
        # Another label, in a line that can be read as well as before.
        path.write_bytes(path.read_bytes().replace(b" 0 ", b" 1 ", 1))
        with pytest.raises(DataError) as error:
            list(source.read(unit, listing.features))
    assert str(error.value) == (
        f"{path}: expected the 30 images that were listed, got others. "
        "The work folder is damaged; run the same command again."
    )


def test_a_record_without_its_field_is_a_bad_record(tmp_path: Path, small_images: list[bytes]):
    config = build_tfrecord(tmp_path, named(small_images))
    path = tmp_path / "images-00001.tfrecord"
    examples = [
        tf.train.Example.FromString(data)
        for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    del examples[1].features.feature["image/encoded"]
    examples[2].features.feature["image/label"].int64_list.value.append(3)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
        writer.write(b"no example")
    bad = [record for record in read_all(config) if isinstance(record, BadRecord)]
    assert [record.reason for record in bad] == [
        "expected a field 'image/encoded', got none",
        "expected one int64 in field 'image/label', got 2",
        "expected a tf.train.Example, got other bytes",
    ]
    assert bad[2].key == f"images-00001.tfrecord__{len(examples)}"


def check_refused(config: SourceConfig, message: str, kind: type[Exception] = RequestError):
    with pytest.raises(kind) as error:
        config.open().list()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_folder_lacks_is_said(tmp_path: Path, small_images: list[bytes]):
    nowhere = ImageFolderConfig(kind="image_folder", directory=str(tmp_path / "nowhere"))
    check_refused(nowhere, f"source.directory: expected images in '{tmp_path}/nowhere', found no")
    (tmp_path / "loose.png").write_bytes(small_images[0])
    labelled = ImageFolderConfig(kind="image_folder", directory=str(tmp_path))
    check_refused(labelled, "loose.png: expected each image in the folder of its class, found 1")


def test_what_tfrecords_lack_is_said(tmp_path: Path, small_images: list[bytes]):
    config = build_tfrecord(tmp_path, named(small_images))
    assert isinstance(config, TfrecordConfig)
    change = lambda **update: config.model_copy(update=update)
    check_refused(change(files=f"{tmp_path}/none-*"), "found none that match")
    check_refused(change(image="image"), "expected a field 'image', got image/encoded, image/lab")
    check_refused(change(image="image/label"), "source.image: expected a field of bytes, got int64")
    carry = {"key": CarryField(field="image/label")}
    check_refused(change(carry=carry), "got 'key', which token records use")
    (tmp_path / "images-00000.tfrecord").write_bytes(b"\x1f\x8b" + b"\0" * 50)
    check_refused(config, "expected an uncompressed TFRecord, got GZIP. Unpack it", DataError)
    (tmp_path / "images-00000.tfrecord").write_bytes(b"\0" * 50)
    check_refused(config, "images-00000.tfrecord: record 0: expected a TFRecord, got a", DataError)


def test_what_a_tfds_directory_lacks_is_said(tmp_path: Path, small_images: list[bytes]):
    config = build_tfds_directory(tmp_path, named(small_images))
    assert isinstance(config, TfdsConfig)
    change = lambda **update: config.model_copy(update=update)
    check_refused(change(split="test"), "source.split: expected one of train, or an expression")
    check_refused(change(image="picture"), "expected an image feature (image/encoded), got 'pict")
    check_refused(change(carry=("name",)), "expected features among image/encoded, image/label")
    check_refused(change(directory=str(tmp_path / "x")), "source.directory: expected a dataset pre")
    check_refused(
        TfdsConfig(kind="tfds", name="mnist", data_dir=str(tmp_path), split="train"),
        f"Prepare it with 'tfds build mnist --data_dir {tmp_path}'.",
    )
    info = tmp_path / "dataset_info.json"
    count = len(small_images) // 2
    assert info.read_text().count(f'"{count}"') == 2
    info.write_text(info.read_text().replace(f'"{count}"', '"999"', 1))
    check_refused(config, "expected 999 records as dataset_info.json says, got", DataError)


def test_the_sample_has_the_labels_of_fashion_mnist(root: Path):
    config = TfdsConfig(
        kind="tfds",
        directory=str(root / "samples" / "fashion_mnist"),
        split="test",
        carry=("label",),
    )
    listing = config.open().list()
    (feature,) = listing.features
    assert feature.class_names is not None and feature.class_names[9] == "Ankle boot"
    labels = np.array([record.carried for record in read_all(config)])
    assert labels.shape == (2000, 1)
    assert np.bincount(labels.ravel()).min() > 150


def test_damage_in_the_metadata_of_a_prepared_dataset_is_said(
    tmp_path: Path, small_images: list[bytes]
):
    config = build_tfds_directory(tmp_path, named(small_images))
    info = tmp_path / "dataset_info.json"
    info.write_text(info.read_text().replace("{DATASET}", "{DATAST}"))
    check_refused(config, "dataset_info.json: expected name and length of every shard, got: Could")
    info.write_text("{")
    check_refused(config, "source.directory: expected a dataset prepared by tensorflow-datasets")
