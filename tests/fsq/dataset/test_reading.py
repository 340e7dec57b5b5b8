"""Reading: every record once, in an order that follows from (seed, epoch, shard) alone."""

import dataclasses
import itertools
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from fsq.dataset import Caption, SequenceSpec, TokenBatches, token_dataset
from fsq.dataset.epoch_order import EpochOrder, mix, permutation, share_of
from fsq.dataset.fingerprint import Fingerprint
from fsq.dataset.manifest import seal_fingerprint
from fsq.errors import DataError, RequestError
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import with_digest
from tools.random_tokens import write_random_tokens

IMAGES = 20_000  # two windows, the second one not full


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """A dataset of 20,000 images with 4 tokens each, in 3 shards; image n has key 'n'."""
    directory = tmp_path_factory.mktemp("large") / "out"
    tokens = write_random_tokens(directory, images=IMAGES, side=2)
    return str(directory), tokens[:, 0]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """60 images in two views with captions, 4 tokens each, in 3 shards."""
    directory = tmp_path_factory.mktemp("small") / "out"
    views = ("center", "center_flipped")
    return str(directory), write_random_tokens(
        directory, images=60, side=2, views=views, captions=True
    )


@pytest.fixture
def copied(small: tuple[str, np.ndarray], tmp_path: Path) -> Path:
    return Path(shutil.copytree(small[0], tmp_path / "out"))


def keys_of(batches: TokenBatches) -> list[int]:
    return [int(key) for batch in batches for key in batch["key"]]


def check_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", [None, 7])
def test_the_shares_of_all_hosts_are_every_record_once(large, hosts: int, seed: int | None):
    directory, tokens = large
    seen: list[int] = []
    sizes = []
    for host in range(hosts):
        batches = TokenBatches(
            directory, batch_size=512, shuffle_seed=seed, epoch=3, shard=(host, hosts)
        )
        share = list(batches)
        assert len(share) == len(batches)
        assert all(len(batch["key"]) == 512 for batch in share[:-1])
        for batch in share:
            keys = [int(key) for key in batch["key"]]
            np.testing.assert_array_equal(batch["tokens"], tokens[keys])
            np.testing.assert_array_equal(batch["label"], np.array(keys) % 5)
            seen += keys
        sizes.append(sum(len(batch["key"]) for batch in share))
    assert sorted(seen) == list(range(IMAGES))
    assert max(sizes) - min(sizes) <= 1
    # However many hosts there are, together they read the same order.
    assert seen == keys_of(TokenBatches(directory, batch_size=999, shuffle_seed=seed, epoch=3))


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
def test_without_remainders_all_hosts_have_the_same_number_of_full_batches(large, hosts: int):
    directory, _ = large
    shares = [
        TokenBatches(directory, batch_size=300, shard=(host, hosts), drop_remainder=True)
        for host in range(hosts)
    ]
    assert {len(share) for share in shares} == {IMAGES // hosts // 300}
    assert {len(batch["key"]) for share in shares for batch in share} == {300}
    seen = list(itertools.chain.from_iterable(map(keys_of, shares)))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("records", [95, 96, 97])
def test_hosts_have_equally_many_full_batches_at_the_bound_too(tmp_path: Path, records: int):
    write_random_tokens(tmp_path, images=records, side=2, num_shards=1)
    for hosts, batch_size in [(2, 48), (2, 16), (3, 32), (3, 8), (4, 24), (4, 3), (96, 1)]:
        expected = records // (hosts * batch_size)
        for host in range(hosts):
            options = {"batch_size": batch_size, "shard": (host, hosts), "drop_remainder": True}
            if not expected:
                with pytest.raises(RequestError, match=f"for each of {hosts} shares"):
                    TokenBatches(tmp_path, **options)
                continue
            sizes = [len(batch["key"]) for batch in TokenBatches(tmp_path, **options)]
            assert sizes == [batch_size] * expected


def test_the_order_follows_from_seed_and_epoch_alone(large):
    directory, _ = large

    def order(seed: int | None, epoch: int) -> list[int]:
        return keys_of(TokenBatches(directory, batch_size=700, shuffle_seed=seed, epoch=epoch))

    assert order(1, 0) == order(1, 0)
    orders = [order(1, 0), order(1, 1), order(2, 0), order(0, 0), order(None, 0)]
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    assert order(None, 1) == order(None, 0)


def test_shuffled_records_come_from_everywhere(large):
    directory, _ = large
    stored = keys_of(TokenBatches(directory, batch_size=1000))
    place = {key: number for number, key in enumerate(stored)}
    batch = TokenBatches(directory, batch_size=512, shuffle_seed=5)[0]
    places = np.sort([place[int(key)] for key in batch["key"]])
    # Of 16 of the 21 blocks of 1,024: nowhere many of them, and no neighbours in a row.
    assert np.bincount(places // 1024).max() < 80
    assert len(set(places // 1024)) >= 15


def test_the_order_is_the_same_for_ever():
    # These numbers are what a saved position means: another hash would be another place.
    assert permutation(10, mix(1, 2, 3)).tolist() == [4, 5, 0, 2, 6, 9, 3, 1, 8, 7]
    order = EpochOrder([1024] * 40, seed=7, epoch=1)
    assert len(order) == 40_960
    assert order.window(2).blocks == (4, 16, 12, 36, 26, 22, 14, 9)
    window = order.window(0).order
    assert window is not None and window[:4].tolist() == [10249, 15890, 4103, 10598]


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_shares_lie_one_behind_the_other(count: int, shares: int):
    spans = [share_of(count, index, shares) for index in range(shares)]
    assert [begin for begin, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == count


def test_a_batch_is_a_function_of_its_number(large):
    directory, _ = large
    options = {"batch_size": 384, "shuffle_seed": 3, "epoch": 2, "shard": (1, 2)}
    undisturbed = list(TokenBatches(directory, **options))
    for number in (len(undisturbed) - 1, 5, 0, 25):
        check_equal(TokenBatches(directory, **options)[number], undisturbed[number])
    batches = TokenBatches(directory, **options)
    check_equal(batches[-1], undisturbed[-1])
    check_equal(pickle.loads(pickle.dumps(batches))[7], undisturbed[7])


def test_a_position_is_restored_in_the_middle_of_an_epoch(large, tmp_path: Path):
    directory, _ = large

    def dataset(start: int = 0) -> tf.data.Dataset:
        return token_dataset(
            directory,
            "train",
            batch_size=128,
            shuffle_seed=3,
            epoch=1,
            shard=(0, 2),
            sequence=SequenceSpec(bos=1000),
            start=start,
        )

    undisturbed = list(dataset().as_numpy_iterator())
    assert len(undisturbed) == len(dataset()) == 79
    iterator = iter(dataset())
    for _ in range(30):
        next(iterator)
    saved = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "position"))
    restored = iter(dataset())
    tf.train.Checkpoint(iterator=restored).restore(saved)
    for found in (restored, iterator, iter(dataset(start=30))):
        rest = [{name: value.numpy() for name, value in batch.items()} for batch in found]
        assert len(rest) == 49
        for one, other in zip(rest, undisturbed[30:], strict=True):
            check_equal(one, other)


def test_to_go_on_reads_nothing_of_what_came_before(large, tmp_path: Path):
    directory = shutil.copytree(large[0], tmp_path / "out")
    batches = TokenBatches(str(directory), batch_size=100)
    last = batches[len(batches) - 1]
    first_shard = directory / "random-train.tfrecord-00000-of-00003"
    first_shard.write_bytes(bytes(first_shard.stat().st_size))
    check_equal(TokenBatches(str(directory), batch_size=100)[len(batches) - 1], last)
    with pytest.raises(DataError):
        TokenBatches(str(directory), batch_size=100)[0]


def test_tensorflow_gets_the_same_batches(small):
    directory, _ = small
    for sequence in (None, SequenceSpec(bos=1000)):
        options = {"batch_size": 32, "shuffle_seed": 1, "sequence": sequence}
        dataset = token_dataset(directory, **options)
        batches = TokenBatches(directory, **options)
        assert len(dataset) == len(batches) == 4
        for one, other in zip(dataset.as_numpy_iterator(), batches, strict=True):
            check_equal(one, other)
    fixed = token_dataset(directory, batch_size=32, drop_remainder=True)
    assert fixed.element_spec["tokens"] == tf.TensorSpec((32, 4), tf.int32)
    assert fixed.element_spec["caption"] == tf.TensorSpec((32,), tf.string)
    assert len(fixed) == 3


def test_tokens_as_integers_or_bytes_are_read_as_the_same_tokens(tmp_path: Path):
    found = []
    for token_format in ("bytes", "int64_list"):
        directory = tmp_path / token_format
        # 102,400 codes: three bytes of an integer, four of a fixed type.
        tokens = write_random_tokens(
            directory, images=300, levels=(8, 8, 8, 8, 5, 5), token_format=token_format
        )
        batches = list(TokenBatches(str(directory), batch_size=64, shuffle_seed=1))
        keys = [int(key) for batch in batches for key in batch["key"]]
        np.testing.assert_array_equal(
            np.concatenate([batch["tokens"] for batch in batches]), tokens[keys, 0]
        )
        found.append(batches)
    for one, other in zip(*found, strict=True):
        check_equal(one, other)


@pytest.mark.parametrize("token_format", ["bytes", "int64_list"])
def test_a_vocabulary_beyond_32_bits_is_read_as_int64(tmp_path: Path, token_format):
    levels = (8,) * 11
    tokens = write_random_tokens(
        tmp_path, images=40, side=2, levels=levels, token_format=token_format
    )
    assert tokens.max() > 2**32
    batches = TokenBatches(str(tmp_path), batch_size=40, sequence=SequenceSpec(bos=2**33))
    assert batches.vocab_size == 2**33 + 1
    (batch,) = token_dataset(str(tmp_path), batch_size=40).as_numpy_iterator()
    assert batch["tokens"].dtype == np.int64
    np.testing.assert_array_equal(batch["tokens"], tokens[[int(k) for k in batch["key"]], 0])
    assert batches[0]["tokens"].dtype == np.int64
    np.testing.assert_array_equal(batches[0]["tokens"][:, 1:], batch["tokens"])
    assert set(batches[0]["tokens"][:, 0]) == {2**33}


def test_every_view_or_one_of_each_image_is_read(small):
    directory, tokens = small

    def pairs(epoch: int = 0, **options) -> list[tuple[int, bytes]]:
        batches = TokenBatches(directory, batch_size=16, shuffle_seed=4, epoch=epoch, **options)
        found = []
        for batch in batches:
            views = (batch["view"] == b"center_flipped").astype(int)
            keys = [int(key) for key in batch["key"]]
            np.testing.assert_array_equal(batch["tokens"], tokens[keys, views])
            found += zip(keys, batch["view"].tolist(), strict=True)
        return found

    every = [(key, view) for key in range(60) for view in (b"center", b"center_flipped")]
    assert sorted(pairs()) == every
    assert sorted(pairs(views="first")) == [(key, b"center") for key in range(60)]
    epochs = [sorted(pairs(epoch, views="one_per_epoch")) for epoch in range(24)]
    for found in epochs:
        assert [key for key, _ in found] == list(range(60))
        assert 15 < sum(view == b"center" for _, view in found) < 45
    assert len({tuple(found) for found in epochs}) == 24
    assert sorted(set(itertools.chain(*epochs))) == every
    shares = [pairs(3, views="one_per_epoch", shard=(host, 3)) for host in range(3)]
    assert sorted(itertools.chain(*shares)) == epochs[3]


def test_another_seed_or_epoch_shows_other_views(small):
    def shown(seed: int | None, epoch: int = 0) -> list[tuple[bytes, bytes]]:
        options = {"shuffle_seed": seed, "epoch": epoch, "views": "one_per_epoch"}
        (batch,) = TokenBatches(small[0], batch_size=60, **options)
        return sorted(zip(batch["key"].tolist(), batch["view"].tolist(), strict=True))

    places = [(seed, epoch) for seed in range(8) for epoch in range(3)]
    found = {place: shown(*place) for place in places}
    assert len({tuple(views) for views in found.values()}) == len(places)
    for one, other in itertools.combinations(found.values(), 2):
        # Chosen anew for every image: about half of 60 differ, 14 or fewer once in 50,000 pairs.
        assert sum(a != b for a, b in zip(one, other, strict=True)) > 14
    assert {place: shown(*place) for place in places} == found
    assert shown(None) == found[0, 0]  # the stored order, which has no seed


def records(directory: str) -> dict[str, np.ndarray]:
    return TokenBatches(directory, batch_size=7)[0]


def test_a_sequence_is_what_its_spec_says(small):
    directory, _ = small
    stored = records(directory)
    spec = SequenceSpec(bos=1005, class_offset=0, token_offset=5, end=1006)
    batches = TokenBatches(directory, batch_size=7, sequence=spec, with_labels=True)
    assert batches.vocab_size == 1007
    batch = batches[0]
    assert list(batch) == ["tokens", "label"]
    assert batch["tokens"].dtype == np.int32
    expected = [
        [1005, label, *(tokens + 5).tolist(), 1006]
        for label, tokens in zip(stored["label"], stored["tokens"], strict=True)
    ]
    assert batch["tokens"].tolist() == expected
    assert batch["label"].tolist() == stored["label"].tolist()
    plain = TokenBatches(directory, batch_size=7, sequence=SequenceSpec())
    assert list(plain[0]) == ["tokens"]
    assert plain[0]["tokens"].tolist() == stored["tokens"].tolist()


@pytest.mark.parametrize(
    ("class_offset", "token_offset"), [(0, 5), (1, 6), (3, 20), (1000, 0), (1010, 7)]
)
def test_class_and_image_tokens_have_each_their_own_offset(small, class_offset, token_offset):
    stored = records(small[0])
    assert len(set(stored["label"].tolist())) > 1
    spec = SequenceSpec(class_offset=class_offset, token_offset=token_offset)
    tokens = TokenBatches(small[0], batch_size=7, sequence=spec)[0]["tokens"]
    assert tokens[:, 0].tolist() == (stored["label"] + class_offset).tolist()
    assert tokens[:, 1:].tolist() == (stored["tokens"] + token_offset).tolist()


def test_a_caption_comes_first_and_is_padded(small):
    directory, _ = small
    stored = records(directory)
    caption = Caption(encode=lambda text: [ord(c) for c in text], length=12, vocab_size=128, pad=0)
    spec = SequenceSpec(caption=caption, token_offset=128)
    batches = TokenBatches(directory, batch_size=7, sequence=spec)
    assert batches.vocab_size == 1128
    for row, key, tokens in zip(batches[0]["tokens"], stored["key"], stored["tokens"], strict=True):
        words = b"number " + key
        assert bytes(row[:12].tolist()) == words + bytes(12 - len(words))
        assert row[12:].tolist() == (tokens + 128).tolist()


def test_images_are_packed_to_a_length_and_told_apart(small):
    directory, _ = small
    stored = TokenBatches(directory, batch_size=120)[0]
    spec = SequenceSpec(bos=1000, length=18, pad=1001)
    batches = TokenBatches(directory, batch_size=50, sequence=spec, with_labels=True, shard=(0, 3))
    assert len(batches) == 1  # 40 records, three in a sequence
    batch = batches[0]
    images = [[1000, *tokens] for tokens in stored["tokens"].tolist()[:40]]
    rows = [[*itertools.chain(*images[first : first + 3])] for first in range(0, 40, 3)]
    assert batch["tokens"].tolist() == [row + [1001] * (18 - len(row)) for row in rows]
    assert batch["segments"][0].tolist() == [1] * 5 + [2] * 5 + [3] * 5 + [0] * 3
    assert batch["segments"][-1].tolist() == [1] * 5 + [0] * 13
    labels = [*stored["label"][:40].tolist(), -1, -1]
    assert batch["label"].ravel().tolist() == labels
    assert batch["tokens"].dtype == batch["segments"].dtype == np.int32


def letters(text: str) -> list[int]:
    return [ord(c) for c in text]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sequence": SequenceSpec(bos=1000, length=4, pad=1001)},
            "sequence.length: expected at least 5 (1 BOS + 4 image), got 4. Raise it.",
        ),
        (
            {"sequence": SequenceSpec(length=-4, pad=1001)},
            "sequence.length: expected at least 4 (4 image), got -4. Raise it.",
        ),
        (
            {"sequence": SequenceSpec(bos=1000, end=1000)},
            "sequence.end: expected another token than 'bos', got 1000 for both. Choose another.",
        ),
        (
            {"sequence": SequenceSpec(length=4)},
            "sequence.pad: expected a padding token, because 'length' is given, got none. Set it.",
        ),
        (
            {"sequence": SequenceSpec(bos=999)},
            "sequence.bos: expected a token outside [0, 1000), the tokens of images, got 999. "
            "Choose another, or change token_offset.",
        ),
        (
            {"sequence": SequenceSpec(class_offset=1000, end=1004)},
            "sequence.end: expected a token outside [1000, 1005), the classes, got 1004. "
            "Choose another, or change token_offset.",
        ),
        (
            {"sequence": SequenceSpec(class_offset=996)},
            "sequence.token_offset: expected tokens of images outside [996, 1001), the classes, "
            "got [0, 1000). Change it.",
        ),
        (
            {"sequence": SequenceSpec(token_offset=-1)},
            "sequence.token_offset: expected 0 or more, got -1. Raise it.",
        ),
        (
            {"sequence": SequenceSpec(caption=Caption(encode=letters, length=9, vocab_size=128))},
            "sequence.caption.pad: expected a token outside [0, 1000), the tokens of images, "
            "got 0. Choose another, or change token_offset.",
        ),
        (
            {
                "sequence": SequenceSpec(
                    caption=Caption(encode=letters, length=9, vocab_size=128, field="words"),
                    token_offset=128,
                )
            },
            "out: expected records with a text 'words', found caption, crop, flip, key, label, "
            "source_size, tokens, view. Carry it when tokenizing, or read without it.",
        ),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0. Raise it."),
        ({"epoch": -1}, "epoch: expected at least 0, got -1. Raise it."),
        (
            {"shard": (3, 3)},
            "shard: expected (index, count) with 0 <= index < count, got (3, 3). Count from 0.",
        ),
        (
            {"views": "second"},
            "views: expected 'all', 'first' or 'one_per_epoch', got 'second'. Choose one of them.",
        ),
        ({"split": "test"}, "out: expected split 'test', found 'train'. Pass split='train', fo"),
        (
            {"shard": (0, 200)},
            "out: expected at least one record for each of 200 shares, found 120 in all. Read it "
            "with fewer hosts, or in smaller batches.",
        ),
        (
            {"drop_remainder": True, "batch_size": 121},
            "out: expected at least 121 records, found 120 in all. Read it in smaller batches.",
        ),
    ],
)
def test_what_cannot_be_read_so_is_refused_before_the_first_record(small, options, message: str):
    with pytest.raises(RequestError) as error:
        TokenBatches(small[0], **{"batch_size": 8, **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", [SequenceSpec(class_offset=1000), SequenceSpec()])
@pytest.mark.parametrize("num_classes", [None, 5])
def test_without_labels_no_number_of_classes_is_asked_for(tmp_path: Path, spec, num_classes):
    write_random_tokens(tmp_path / "out", images=9, side=2, labels=False)
    spec = dataclasses.replace(spec, num_classes=num_classes)
    with pytest.raises(RequestError) as error:
        TokenBatches(tmp_path / "out", batch_size=9, sequence=spec, with_labels=True)
    assert str(error.value) == (
        f"{tmp_path}/out: expected records with an integer 'label', found crop, flip, key, "
        "source_size, tokens, view. Carry it when tokenizing, or read without it."
    )


def test_a_start_beyond_the_epoch_is_refused(small):
    assert len(token_dataset(small[0], batch_size=8, start=15)) == 0
    with pytest.raises(RequestError, match=r"^start: expected 0 to 15, the batches of an epoch"):
        token_dataset(small[0], batch_size=8, start=16)


@pytest.mark.parametrize(
    ("encode", "found"),
    [(lambda text: [5] * 10, "10"), (lambda text: [128], "other tokens")],
)
def test_a_caption_that_is_too_long_or_of_other_tokens_is_refused(small, encode, found: str):
    spec = SequenceSpec(caption=Caption(encode=encode, length=9, vocab_size=128), token_offset=128)
    message = (
        rf"expected at most 9 tokens in \[0, 128\) for the caption 'number [0-9]+', got {found}\. "
        r"Correct sequence\.caption\.encode\.$"
    )
    with pytest.raises(DataError, match=message):
        TokenBatches(small[0], batch_size=8, sequence=spec)[0]


def test_a_label_out_of_range_is_refused(small):
    spec = SequenceSpec(class_offset=1000, num_classes=3)
    with pytest.raises(DataError, match=r"out: expected labels in \[0, 3\), got [34]\. Read it "):
        TokenBatches(small[0], batch_size=8, sequence=spec)[0]


def resign(directory: Path, **changes: object) -> None:
    """Changes a manifest and the sha256 of what lies beside it, as a forger would."""
    path = directory / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    manifest["files"] = {name: sha256_of_file(str(directory / name)) for name in manifest["files"]}
    path.write_text(json.dumps(with_digest(manifest)))


def test_a_directory_that_is_no_dataset_of_ours_is_refused(copied: Path):
    resign(copied, format_version=5)
    with pytest.raises(DataError, match=r"manifest\.json: expected format version 4, got 5\. Read"):
        TokenBatches(str(copied), batch_size=8)
    (copied / "manifest.json").unlink()
    message = r"out: expected a finished dataset, found no manifest\.json\. Check the path, or fin"
    with pytest.raises(RequestError, match=message):
        TokenBatches(str(copied), batch_size=8)


def test_an_empty_split_is_refused(copied: Path):
    manifest = json.loads((copied / "manifest.json").read_text())
    shards = [{**shard, "records": 0, "bytes": 0} for shard in manifest["shards"]]
    splits = {"train": {"images": 0, "records": 0}}
    resign(copied, records=0, shards=shards, splits=splits)
    with pytest.raises(RequestError, match="out: expected at least one record, found none in spli"):
        TokenBatches(str(copied), batch_size=8)


def test_another_vocabulary_is_refused(copied: Path):
    path = copied / "tokenizer.json"
    contract = json.loads(path.read_text())
    path.write_text(json.dumps({**contract, "levels": [8, 5, 5, 4], "vocab_size": 800}))
    with pytest.raises(DataError, match=r"tokenizer\.json: expected sha256 "):
        TokenBatches(str(copied), batch_size=8)
    resign(copied)
    message = r"tokenizer\.json: expected vocab_size 1000 as in the manifest, got 800\. "
    with pytest.raises(DataError, match=message):
        TokenBatches(str(copied), batch_size=8)


def test_unknown_features_are_refused(copied: Path):
    path = copied / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["label"] = {"image": {}}
    path.write_text(json.dumps(features))
    resign(copied)
    message = r"features\.json: expected the features of a token dataset, got: label of an unknown "
    with pytest.raises(DataError, match=message):
        TokenBatches(str(copied), batch_size=8)


def test_a_token_beyond_the_vocabulary_is_refused(copied: Path):
    path = copied / "tokenizer.json"
    contract = json.loads(path.read_text())
    path.write_text(json.dumps({**contract, "levels": [5, 5, 4, 4], "vocab_size": 400}))
    manifest = json.loads((copied / "manifest.json").read_text())
    fields = manifest["fingerprint"]["fields"]
    fields["tokenizer"] |= {"levels": [5, 5, 4, 4], "vocab_size": 400}
    sealed = seal_fingerprint(Fingerprint.model_validate(fields))
    resign(copied, fingerprint={"sha256": sealed.sha256, "fields": sealed.fields.to_dict()})
    with pytest.raises(DataError, match=r"out: expected tokens in \[0, 400\), got [0-9]+ to 99"):
        TokenBatches(str(copied), batch_size=8)[0]


SHARD = "random-train.tfrecord-00001-of-00003"


def test_a_shard_that_is_gone_or_cut_off_is_named_before_the_first_record(copied: Path):
    shard = copied / SHARD
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    message = rf"{SHARD}: expected a file of {size:,} bytes, found one of {size - 1:,}\. The data"
    with pytest.raises(DataError, match=message):
        TokenBatches(str(copied), batch_size=8)
    shard.write_bytes(bytes(size))
    batches = TokenBatches(str(copied), batch_size=8)
    shard.unlink()
    with pytest.raises(DataError, match=rf"{SHARD}: expected a shard, got: No such file or direct"):
        list(batches)
    with pytest.raises(DataError, match=rf"{SHARD}: expected a file of {size:,} bytes, found none"):
        TokenBatches(str(copied), batch_size=8)


def test_a_damaged_record_is_named(copied: Path):
    shard = copied / SHARD
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)
    message = rf"{SHARD}: record [0-9]+: expected data that matches its checksum, got damaged data"
    with pytest.raises(DataError, match=message):
        list(TokenBatches(str(copied), batch_size=8))
    with pytest.raises(tf.errors.OpError, match=message):
        list(token_dataset(str(copied), batch_size=8))


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_damaged_length_is_refused(copied: Path, value: int):
    shard = copied / SHARD
    original = shard.read_bytes()
    for position in range(8):
        data = bytearray(original)
        if data[position] == value:
            continue
        data[position] = value
        shard.write_bytes(data)
        with pytest.raises(DataError, match=re.escape(SHARD)):
            list(TokenBatches(str(copied), batch_size=8))
