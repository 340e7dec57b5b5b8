"""image_dataset: what fsq tokenize encodes, in one order, restorable, with every image counted."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from builders.fixtures import make_images
from builders.jobs import MakeConfig, job_config
from builders.sources import SourceBuilder, build_tfrecord

from fsq.dataset import TokenBatches
from fsq.errors import RequestError
from fsq.images.spec import DecodeRules, ImageSpec
from fsq.tokenizer import Tokenizer
from pipeline.image_dataset import ImagesConfig, image_dataset, open_images
from pipeline.loading import blocks, tf_images
from pipeline.loading.open_images import OpenedImages
from pipeline.run import tokenize
from pipeline.sources.units import one_unit_per_file
from pipeline.stages.decode import DecodedImage, decode_record
from pipeline.tokenizers.held_out import is_held_out
from pipeline.views.center import Center, CenterFlipped

SPEC = ImageSpec(size_pixels=16, channels=3)
BOTH = ["center", "center_flipped"]


def images_config(source: Any, **changes: Any) -> ImagesConfig:
    if isinstance(source, Path):
        source = {"kind": "image_folder", "directory": str(source)}
    return ImagesConfig.model_validate({"source": source, "image": SPEC, **changes})


def rows_of(dataset: Any) -> dict[str, list[Any]]:
    """Returns the columns of all batches, one after the other."""
    batches = list(dataset.as_numpy_iterator())
    return {name: [row for b in batches for row in b[name]] for name in batches[0]}


def views_of(rows: dict[str, list[Any]]) -> list[tuple[bytes, bytes]]:
    return list(zip(rows["key"], rows["view"], strict=True))


@pytest.fixture(scope="module")
def opened(image_folder: Path) -> OpenedImages:
    return open_images(images_config(image_folder, views=BOTH))


def test_every_source_gives_the_pixels_keys_and_labels_that_a_job_decodes(
    source: SourceBuilder, small_images: list[bytes], tmp_path: Path
):
    names = [f"{'ab'[n % 2]}/{n:02d}.png" for n in range(len(small_images))]
    config = source.build(tmp_path / "in", dict(zip(names, small_images, strict=True)))
    reader = config.open()
    expected = []
    with reader.list().on_disk() as listing:
        for unit in one_unit_per_file(listing):
            for record in reader.read(unit, listing.features):
                decoded = decode_record(record, SPEC, (Center(), CenterFlipped()), DecodeRules())
                assert isinstance(decoded, DecodedImage)
                for view, pixels in zip(decoded.views, decoded.pixels, strict=True):
                    named = record.key.encode(), view.name.encode(), *decoded.carried
                    expected.append((named, view.crop, view.flip, pixels.tobytes()))
        labels = [feature.name for feature in listing.features]
    for seed in (None, 3):
        rows = rows_of(
            image_dataset(images_config(config, views=BOTH), batch_size=7, shuffle_seed=seed)
        )
        columns = [rows[name] for name in ("key", "view", *labels)]
        found = [
            (named, tuple(crop), bool(flip), image.tobytes())
            for *named_list, crop, flip, image in zip(
                *columns, rows["crop"], rows["flip"], rows["image"], strict=True
            )
            for named in [tuple(named_list)]
        ]
        assert len(labels) == 1
        assert (found == expected) == (seed is None)
        assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("views", ["all", "first", "one_per_epoch"])
def test_its_images_have_the_tokens_of_the_job(job: Path, tokenizer_directory: Path, views: Any):
    order = {"shuffle_seed": 5, "epoch": 2, "views": views, "batch_size": 8}
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    rows = rows_of(image_dataset(job / "config.yaml", **order))
    tokens = tokenizer.encode(np.stack(rows["image"])).reshape(len(rows["key"]), -1)
    online = dict(
        zip(views_of(rows), zip(tokens.tolist(), rows["label"], strict=True), strict=True)
    )
    offline = {
        (key, view): (row.tolist(), label)
        for batch in TokenBatches(job / "out", **order)
        for key, view, row, label in zip(
            *(batch[name] for name in ("key", "view", "tokens", "label")), strict=True
        )
    }
    assert online == offline


@pytest.fixture(scope="module")
def job(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    """A folder with a finished job with two views, and its config."""
    folder = tmp_path_factory.mktemp("job")
    config = job_config(image_folder, tokenizer_directory, folder / "out", views=BOTH)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    tokenize(config)
    return folder


def test_the_order_depends_on_seed_and_epoch_and_not_on_threads(
    opened: OpenedImages, monkeypatch: pytest.MonkeyPatch
):
    def order(**arguments: Any) -> list[int]:
        rows = rows_of(image_dataset(opened, batch_size=8, **arguments))
        return [key for key, _ in views_of(rows)][::2]

    with monkeypatch.context() as patch:
        patch.setattr(tf_images, "count_cores", lambda: 15)
        many = order(shuffle_seed=1, epoch=4)
    monkeypatch.setattr(tf_images, "count_cores", lambda: 0)
    assert many == order(shuffle_seed=1, epoch=4)
    others = [order(), order(shuffle_seed=2, epoch=4), order(shuffle_seed=1, epoch=5)]
    assert len({tuple(one) for one in [many, *others]}) == 4
    assert all(sorted(one) == sorted(many) for one in others)


@pytest.mark.parametrize("taken", [1, 3, 4])
def test_a_dataset_that_starts_in_the_middle_goes_on_like_one_that_was_not_interrupted(
    opened: OpenedImages, taken: int, tmp_path: Path
):
    arguments = {"batch_size": 9, "shuffle_seed": 1, "shard": (1, 2)}
    whole = list(image_dataset(opened, **arguments).as_numpy_iterator())
    # In batches of 9 the two views of an image come apart.
    start = int(whole[taken - 1]["position"][-1]) + 1
    rest = list(image_dataset(opened, **arguments, start=start).as_numpy_iterator())
    np.testing.assert_equal(rest, whole[taken:])

    iterator = iter(image_dataset(opened, **arguments))
    for _ in range(taken):
        next(iterator)
    saved = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "position"))
    again = iter(image_dataset(opened, **arguments))
    tf.train.Checkpoint(iterator=again).restore(saved)
    restored = [{name: column.numpy() for name, column in batch.items()} for batch in again]
    np.testing.assert_equal(restored, whole[taken:])


@pytest.mark.parametrize("seed", [None, 1])
def test_shares_are_disjoint_and_cover_the_epoch(opened: OpenedImages, seed: int | None):
    arguments = {"batch_size": 8, "shuffle_seed": seed, "epoch": 1}
    whole = views_of(rows_of(image_dataset(opened, **arguments)))
    shares = [
        views_of(rows_of(image_dataset(opened, **arguments, shard=(index, 3))))
        for index in range(3)
    ]
    assert [len(share) for share in shares] == [66, 66, 68]
    assert [view for share in shares for view in share] == whole
    assert len(set(whole)) == 200


def test_two_readers_of_one_dataset_do_not_disturb_each_other(opened: OpenedImages):
    dataset = image_dataset(opened, batch_size=8, shuffle_seed=1)
    alone = list(dataset.as_numpy_iterator())
    pairs = list(tf.data.Dataset.zip(dataset, dataset.prefetch(3)).as_numpy_iterator())
    np.testing.assert_equal([one for one, _ in pairs], alone)
    np.testing.assert_equal([other for _, other in pairs], alone)


def test_blocks_of_a_file_are_spread_over_the_epoch_and_mixed_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blocks, "RECORDS_PER_BLOCK", 4)
    monkeypatch.setattr("pipeline.loading.image_epoch.WINDOW_RECORDS", 16)
    with tf.io.TFRecordWriter(str(tmp_path / "one.tfrecord")) as writer:
        for data in make_images(64):
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(data)
            writer.write(example.SerializeToString())
    source = {"kind": "tfrecord", "files": f"{tmp_path}/one.tfrecord", "image": "image"}
    rows = rows_of(image_dataset(images_config(source), batch_size=16, shuffle_seed=1))
    numbers = [int(key.rpartition(b"__")[2]) for key in rows["key"]]
    assert sorted(numbers) == list(range(64))
    for first in range(0, 64, 16):
        window = numbers[first : first + 16]
        in_window = sorted({number // 4 for number in window})
        assert len(in_window) == 4
        assert in_window[-1] - in_window[0] > 3
        assert window != sorted(window)


def test_rejects_are_left_out_and_reported_once_with_the_reasons_of_the_job(
    small_images: list[bytes], tmp_path: Path, tokenizer_directory: Path
):
    folder = tmp_path / "in" / "a"
    folder.mkdir(parents=True)
    for number, data in enumerate(small_images):
        (folder / f"{number:02d}.png").write_bytes(data[: 40 if number in (3, 17) else None])
    config = job_config(
        tmp_path / "in", tokenizer_directory, tmp_path / "out", max_reject_fraction=0.1
    )
    seen: list[str] = []
    dataset = image_dataset(config, batch_size=8, on_reject=lambda one: seen.append(one.key))
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    for _ in range(2):
        rows = rows_of(dataset)
    assert len(rows["key"]) == 28
    assert seen == [reject.key for reject in dataset.rejects] == ["a/03.png", "a/17.png"]
    summary = tokenize(config)
    reasons = {f"{one.stage}: {one.reason}" for one in dataset.rejects}
    assert reasons == set(summary.rejects_by_reason)

    strict = config.model_copy(update={"max_reject_fraction": 0.0})
    with pytest.raises(tf.errors.OpError) as caught:
        rows_of(image_dataset(strict, batch_size=8))
    assert "a/03.png: expected " in str(caught.value)
    assert "It is number 1 of the rejects, of which 0 may be" in str(caught.value)


def test_an_image_that_vanishes_is_a_reject(small_images: list[bytes], tmp_path: Path):
    folder = tmp_path / "in" / "a"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(small_images[number])
    images = open_images(images_config(tmp_path / "in", max_reject_fraction=0.5))
    (folder / "2.png").unlink()
    dataset = image_dataset(images, batch_size=2)
    assert len(rows_of(dataset)["key"]) == 3
    assert [one.stage for one in dataset.rejects] == ["read"]
    assert len(dataset.rejects) == 1


def test_a_filter_leaves_out_what_it_leaves_out_of_a_job(image_folder: Path):
    config = images_config(image_folder, filter={"max_aspect_ratio": 1.2})
    dataset = image_dataset(config, batch_size=8, shuffle_seed=1)
    rows = rows_of(dataset)
    assert {tuple(size) for size in rows["source_size"]} == {(16, 16)}
    assert {(one.stage, one.reason) for one in dataset.rejects} == {
        ("filter", "aspect ratio above 1.2")
    }
    assert len(dataset.rejects) == 100 - len(rows["key"]) == 66


@pytest.mark.parametrize("share", [{"train": 0.8, "val": 0.2}, None])
def test_a_split_has_the_images_that_the_job_writes_into_it(
    make_config: MakeConfig, image_folder: Path, share: dict[str, float] | None
):
    split = share or {"train": "dogs", "val": "cats"}
    labels = {"kind": "image_folder", "directory": str(image_folder), "labels": False}
    config = make_config(source=labels, output={"split": split, "num_shards": 2})
    tokenize(config)
    for name in split:
        batches = TokenBatches(config.output.directory, name, batch_size=8)
        expected = sorted(key for batch in batches for key in batch["key"])
        rows = rows_of(image_dataset(config, name, batch_size=8, shuffle_seed=1))
        assert sorted(rows["key"]) == expected
    assert len(rows_of(image_dataset(config, batch_size=8))["key"]) == 100


def test_a_config_of_training_gives_what_it_trains_on(image_folder: Path, tmp_path: Path):
    config = {
        "source": {"kind": "image_folder", "directory": str(image_folder)},
        "held_out": 0.2,
        "tokenizer": {
            "levels": [3, 5, 4],
            "image": {"size_pixels": 16, "channels": 3},
            "network": {"kind": "conv", "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
        },
        "training": {"epochs": 1},
        "output": str(tmp_path / "tokenizer"),
    }
    keys = rows_of(image_dataset(config, batch_size=8))["key"]
    assert 60 < len(keys) < 100
    assert not any(is_held_out(key.decode(), 0.2) for key in keys)


def test_the_last_batch_is_smaller_or_left_out(opened: OpenedImages):
    def sizes(**arguments: Any) -> list[int]:
        dataset = image_dataset(opened, batch_size=64, **arguments)
        found = [len(batch["key"]) for batch in dataset.as_numpy_iterator()]
        assert dataset.cardinality() == len(found)
        return found

    assert sizes() == [64, 64, 64, 8]
    assert sizes(drop_remainder=True) == [64, 64, 64]
    dataset = image_dataset(opened, batch_size=64, drop_remainder=True)
    assert dataset.element_spec["image"].shape == (64, 16, 16, 3)


def test_a_listing_is_removed_when_nothing_reads_it(image_folder: Path):
    images = open_images(images_config(image_folder))
    path = Path(images.listing.files[0].path)
    dataset = image_dataset(images, batch_size=50).map(lambda batch: batch["key"])
    del images
    gc.collect()
    assert sum(map(len, dataset.as_numpy_iterator())) == 100
    assert path.exists()
    del dataset
    gc.collect()
    assert not path.exists()


BAD: list[tuple[Callable[[Any], Any], str]] = [
    (lambda c: image_dataset(c, batch_size=0), "batch_size: expected at least 1, got 0"),
    (lambda c: image_dataset(c, batch_size=8, shard=(2, 2)), "shard: expected (index, count)"),
    (lambda c: image_dataset(c, batch_size=8, views="none"), "views: expected 'all', 'first'"),
    (
        lambda c: image_dataset(c, batch_size=8, start=101),
        "start: expected a position from 0 to 100, those of the share, got 101.",
    ),
    (
        lambda c: image_dataset(c, batch_size=8, start=1, shard=(1, 2)),
        "start: expected a position from 50 to 100",
    ),
    (
        lambda c: image_dataset(c, "val", batch_size=8),
        "split: expected None, because the config has no output.split, got 'val'.",
    ),
    (
        lambda c: image_dataset({"source": c.source.model_dump()}, batch_size=8),
        "config.image: expected a value, got none. Add the key 'image'.",
    ),
    (
        lambda c: image_dataset(open_images(c), "val", batch_size=8),
        "split: expected None with opened images, got 'val'. Pass it to open_images.",
    ),
    (lambda c: image_dataset("no.yaml", batch_size=8), "no.yaml: expected a config file"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_a_bad_request_is_one_line(image_folder: Path, call: Callable[[Any], Any], message: str):
    with pytest.raises(RequestError) as caught:
        call(images_config(image_folder))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_vanished_record_file_is_named(small_images: list[bytes], tmp_path: Path):
    config = build_tfrecord(tmp_path, {f"a/{n}.png": small_images[n] for n in range(6)})
    images = open_images(images_config(config))
    gone = sorted(tmp_path.glob("images-*.tfrecord"))[1]
    gone.unlink()
    with pytest.raises(tf.errors.OpError, match=f"{gone.name}: expected a file that can be read"):
        rows_of(image_dataset(images, batch_size=2))
