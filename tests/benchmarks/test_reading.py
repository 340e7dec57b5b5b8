"""The benchmark of reading: everybody reads the same tokens, and ratios are those of a round."""

import numpy as np
import pytest

from benchmarks.reading import (
    LEVELS,
    OURS,
    READERS,
    Data,
    readers_table,
    records_per_second,
    summarize,
)
from tools.random_tokens import write_random_tokens


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("data")
    made = Data(folder / "bytes", folder / "integers", records=300, tokens=16, batch_size=64)
    write_random_tokens(made.as_bytes, images=300, levels=LEVELS, array_record=True)
    write_random_tokens(made.as_integers, images=300, levels=LEVELS, token_format="int64_list")
    return made


def sorted_tokens(name: str, data: Data) -> list[list[int]]:
    batches = [np.asarray(batch) for batch in READERS[name](data)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.int32)}
    return sorted(np.concatenate(batches).tolist())


def test_everybody_reads_the_same_tokens(data: Data):
    expected = sorted_tokens(OURS, data)
    for name in READERS:
        assert sorted_tokens(name, data) == expected, name
        assert records_per_second(READERS[name], data) > 0


def test_a_reader_that_loses_records_is_not_measured(data: Data):
    with pytest.raises(ValueError, match="expected 300 records, got 64"):
        records_per_second(lambda data: list(READERS[OURS](data))[:1], data)


def test_ratios_are_medians_of_the_ratios_within_a_round():
    rounds = [
        {OURS: 10.0, "other": 5.0},
        {OURS: 90.0, "other": 10.0},
        {OURS: 20.0, "other": 5.0},
    ]
    found = summarize(rounds, tokens=100)
    assert found["other"] == {
        "records_per_second": 5.0,
        "tokens_per_second": 500.0,
        "ours_over": 4.0,
        "rounds": [5.0, 10.0, 5.0],
    }
    assert found[OURS]["ours_over"] == 1.0
    assert readers_table(found).row_count == 2
