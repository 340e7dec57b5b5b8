"""Argument checks of the dataset readers: integers, paths of all kinds, one line otherwise."""

import re
from pathlib import Path

import numpy as np
import pytest

from fsq.dataset import (
    Caption,
    SequenceSpec,
    TokenBatches,
    TokenSource,
    read_contract,
    token_dataset,
)
from fsq.errors import DataError, RequestError
from tools.random_tokens import write_random_tokens


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("arguments") / "out"
    write_random_tokens(directory, images=40, array_record=True)
    return directory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2.5}, "batch_size: expected an integer, got 2.5. Pass an integer."),
        ({"batch_size": "8"}, "batch_size: expected an integer, got '8'. Pass an integer."),
        ({"batch_size": True}, "batch_size: expected an integer, got True. Pass an integer."),
        ({"shuffle_seed": False}, "shuffle_seed: expected an integer, got False. Pass an int"),
        ({"epoch": 1.5}, "epoch: expected an integer, got 1.5. Pass an integer."),
        ({"shuffle_seed": 0.5}, "shuffle_seed: expected an integer, got 0.5. Pass an integer."),
        (
            {"epoch": 2**130},
            "epoch: expected an integer that fits in int64, got 1,361,129,467,68",
        ),
        ({"shard": 3}, "shard: expected (index, count) with 0 <= index < count, got 3. "),
        ({"shard": (0, 1, 2)}, "shard: expected (index, count) with 0 <= index < count, got (0, "),
        ({"shard": (0.5, 2)}, "shard: expected (index, count) with 0 <= index < count, got (0.5,"),
        ({"shard": (False, 2)}, "shard: expected (index, count) with 0 <= index < count, got (Fal"),
        ({"shard": {0, 2}}, "shard: expected (index, count) with 0 <= index < count, got {0, 2}"),
        ({"shard": {0: 1, 2: 3}}, "shard: expected (index, count) with 0 <= index < count, got {0"),
        ({"views": np.array(["first", "all"])}, "views: expected 'all', 'first' or 'one_per_epoch"),
        ({"with_labels": "no"}, "with_labels: expected True or False, got 'no'. Pass one of them."),
        ({"drop_remainder": 1}, "drop_remainder: expected True or False, got 1. Pass one of them."),
        ({"sequence": {"bos": 1}}, "sequence: expected a SequenceSpec or None, got {'bos': 1}. "),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(dataset: Path, options, message: str):
    with pytest.raises(RequestError, match="^" + re.escape(message)):
        TokenBatches(dataset, **{"batch_size": 8, **options})


@pytest.mark.parametrize("name", ["start", "prefetch"])
def test_so_is_a_position_of_a_tensorflow_dataset(dataset: Path, name: str):
    with pytest.raises(RequestError, match=rf"^{name}: expected an integer, got 1.5\."):
        token_dataset(dataset, batch_size=8, **{name: 1.5})


@pytest.mark.parametrize(
    "name", ["bos", "class_offset", "num_classes", "token_offset", "end", "length", "pad"]
)
def test_a_token_is_not_rounded(name: str):
    with pytest.raises(RequestError, match=rf"^sequence\.{name}: expected an integer, got 2.5"):
        SequenceSpec(**{name: 2.5})


def test_a_caption_is_one_and_has_a_whole_length():
    with pytest.raises(RequestError, match=r"^sequence\.caption\.length: expected an integer"):
        Caption(encode=list, length=2.5, vocab_size=8)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"^sequence\.caption: expected a Caption, got 'words'"):
        SequenceSpec(caption="words")  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [[1.5], ["a"], [None], [-1], [8]])
def test_tokens_of_a_caption_are_whole(dataset: Path, tokens: list[object]):
    caption = Caption(encode=lambda text: tokens, length=2, vocab_size=8, field="key")  # type: ignore[arg-type, return-value]
    batches = TokenBatches(
        dataset, batch_size=8, sequence=SequenceSpec(caption=caption, token_offset=8)
    )
    with pytest.raises(DataError, match=r"expected at most 2 tokens in \[0, 8\) for the caption"):
        batches[0]


def test_a_caption_is_encoded_by_a_function():
    with pytest.raises(RequestError, match=r"^sequence\.caption\.encode: expected a function"):
        Caption(encode=None, length=2, vocab_size=8)  # type: ignore[arg-type]


def test_whoever_changes_a_batch_does_not_change_the_next(dataset: Path):
    for sequence in (None, SequenceSpec()):
        batches = TokenBatches(
            dataset, batch_size=8, sequence=sequence, with_labels=sequence is not None
        )
        expected = {name: values.copy() for name, values in batches[1].items()}
        for values in batches[1].values():
            values[:] = values[::-1].copy()
        for name, values in batches[1].items():
            np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("spec", [{"token_offset": 2**63 - 500}, {"end": 2**63 - 1}])
def test_tokens_beyond_an_int64_are_refused(dataset: Path, spec: dict[str, int]):
    with pytest.raises(RequestError, match=r"^sequence: expected tokens below 9,223,372,036,854"):
        TokenBatches(dataset, batch_size=8, sequence=SequenceSpec(**spec))


def test_the_largest_tokens_are_not_wrapped(dataset: Path):
    batches = TokenBatches(
        dataset, batch_size=8, sequence=SequenceSpec(token_offset=2**62, end=2**63 - 2)
    )
    tokens, codes = batches[0]["tokens"], TokenBatches(dataset, batch_size=8)[0]["tokens"]
    assert (tokens[:, -1] == 2**63 - 2).all()
    np.testing.assert_array_equal(tokens[:, :-1] - 2**62, codes)


def test_whole_numbers_of_numpy_and_paths_of_pathlib_are_taken(dataset: Path):
    expected = TokenBatches(str(dataset), batch_size=8, shuffle_seed=3, epoch=1, shard=(1, 2))
    found = TokenBatches(
        dataset,
        batch_size=np.int32(8),
        shuffle_seed=np.uint8(3),
        epoch=np.int64(1),
        shard=tuple(np.arange(1, 3)),
        drop_remainder=np.bool_(False),
    )
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["tokens"], other["tokens"])
    assert read_contract(dataset) == read_contract(str(dataset))


def first_tokens(element: dict) -> list[int]:
    return element["tokens"].ravel()[:16].tolist()


READERS = [lambda directory: TokenBatches(directory, batch_size=4), TokenSource]


@pytest.mark.parametrize("open_reader", READERS)
def test_every_integer_is_an_index(dataset: Path, open_reader):
    reader = open_reader(dataset)
    count = len(reader)
    elements = [first_tokens(element) for element in reader]
    assert len(elements) == count
    assert [first_tokens(element) for element in reversed(reader)] == elements[::-1]
    for number in (0, 3, count - 1, -1, -count):
        for kind in (int, np.int8, np.int64, np.array):
            assert first_tokens(reader[kind(number)]) == elements[number]


@pytest.mark.parametrize("open_reader", READERS)
@pytest.mark.parametrize(
    ("index", "found"),
    [
        (slice(1, 3), "slice(1, 3, None)"),
        (1.0, "1.0"),
        (True, "True"),
        (np.float32(1), "np.float32(1.0)"),
        (np.bool_(True), "np.True_"),
        (np.arange(2), "array([0, 1])"),
        ([0, 1], "[0, 1]"),
        ("tokens", "'tokens'"),
        (None, "None"),
    ],
)
def test_what_is_no_index_is_refused_in_one_line(dataset: Path, open_reader, index, found: str):
    reader = open_reader(dataset)
    with pytest.raises(RequestError) as error:
        reader[index]
    assert str(error.value) == (
        f"{type(reader).__name__}: expected an integer as index, got {found}. "
        "Read one element at a time."
    )


@pytest.mark.parametrize("open_reader", READERS)
def test_an_index_beyond_the_end_is_an_index_error(dataset: Path, open_reader):
    reader = open_reader(dataset)
    name, count = type(reader).__name__, len(reader)
    for index in (count, -count - 1, 2**70):
        message = f"{name}: expected an index from {-count} to {count - 1}, got {index}."
        with pytest.raises(IndexError, match="^" + re.escape(message) + "$"):
            reader[index]


@pytest.mark.parametrize("count", [2, 40])
def test_one_of_several_indices_is_refused_alike(dataset: Path, count: int):
    with pytest.raises(RequestError, match=r"^TokenSource: expected an integer as index, got 0\.5"):
        TokenSource(dataset).__getitems__([*range(count - 1), 0.5])  # type: ignore[list-item]
    with pytest.raises(
        IndexError, match=r"^TokenSource: expected an index from -40 to 39, got 40\."
    ):
        TokenSource(dataset).__getitems__([*range(count - 1), 40])


@pytest.mark.parametrize("directory", [None, 3, "", b"out"])
@pytest.mark.parametrize("reader", [lambda d: TokenBatches(d, batch_size=8), TokenSource])
def test_what_is_no_path_is_refused(reader, directory):
    with pytest.raises(RequestError, match=r"^directory: expected a path, got "):
        reader(directory)


def test_a_file_is_no_dataset():
    with pytest.raises(RequestError, match=r"expected a finished dataset, found no manifest\.json"):
        TokenBatches(__file__, batch_size=8)
