"""A position in a Grain loader over a reader means the same in every process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsq.dataset import Caption, SequenceSpec, TokenBatches, TokenSource
from tools.random_tokens import write_random_tokens

grain = pytest.importorskip("grain")

OPTIONS: dict[str, Any] = {
    "batch_size": 10,
    "sequence": SequenceSpec(bos=1005, class_offset=1000),
    "shuffle_seed": 1,
    "epoch": 2,
    "shard": (0, 2),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("grain") / "out"
    write_random_tokens(directory, images=200, captions=True, array_record=True)
    return directory


def make_batches(directory: Path, **changed: Any) -> TokenBatches:
    return TokenBatches(directory, **OPTIONS | changed)


def make_source(directory: Path) -> TokenSource:
    return TokenSource(directory, sequence=OPTIONS["sequence"])


def make_loader(source: Any) -> Any:
    sampler = grain.samplers.IndexSampler(
        num_records=len(source),
        shuffle=True,
        num_epochs=1,
        seed=0,
        shard_options=grain.sharding.NoSharding(),
    )
    return iter(grain.DataLoader(data_source=source, sampler=sampler, worker_count=0))


def make_dataset(source: Any) -> Any:
    return iter(grain.MapDataset.source(source).shuffle(seed=3).to_iter_dataset())


def restore_and_read(directory: str, state: str) -> None:
    """Runs in another process: prints the tokens behind a position."""
    loader = make_loader(make_batches(Path(directory)))
    loader.set_state(state.encode())
    print(json.dumps(next(loader)["tokens"].tolist()))


def test_a_position_is_restored_in_another_process_on_a_copy_of_the_dataset(
    directory: Path, tmp_path: Path
):
    loader = make_loader(make_batches(directory))
    for _ in range(4):
        next(loader)
    state = loader.get_state()
    copied = shutil.copytree(directory, tmp_path / "copied")
    done = subprocess.run(
        [sys.executable, __file__, str(copied), state.decode()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == next(loader)["tokens"].tolist()


@pytest.mark.parametrize("make_reader", [make_batches, make_source])
@pytest.mark.parametrize("make_iterator", [make_loader, make_dataset])
def test_a_position_is_restored_by_another_reader(directory: Path, make_reader, make_iterator):
    undisturbed = list(make_iterator(make_reader(directory)))
    iterator = make_iterator(make_reader(directory))
    for _ in range(3):
        next(iterator)
    restored = make_iterator(make_reader(directory))
    restored.set_state(iterator.get_state())
    for one, other in zip(restored, undisturbed[3:], strict=True):
        np.testing.assert_array_equal(one["tokens"], other["tokens"])


def test_each_repetition_of_the_docs_loader_has_another_order(directory: Path):
    source = TokenSource(directory)
    loader = grain.MapDataset.source(source).shuffle(seed=1).repeat(2).to_iter_dataset()
    keys = [record["key"] for record in loader]
    assert sorted(keys[:200]) == sorted(keys[200:]) == sorted(record["key"] for record in source)
    assert keys[:200] != keys[200:]


def ids_of(text: str) -> list[int]:
    return [5]


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 9},
        {"sequence": None},
        {"sequence": SequenceSpec(bos=1006, class_offset=1000)},
        {
            "sequence": SequenceSpec(
                caption=Caption(encode=ids_of, length=2, vocab_size=8), token_offset=8
            )
        },
        {"shuffle_seed": 2},
        {"shuffle_seed": None},
        {"epoch": 3},
        {"shard": (1, 2)},
        {"views": "first"},
        {"with_labels": True},
        {"drop_remainder": True},
    ],
    ids=str,
)
def test_a_position_in_other_batches_is_refused(directory: Path, changed: dict[str, Any]):
    loader = make_loader(make_batches(directory))
    next(loader)
    other = make_batches(directory, **changed)
    if len(other) == len(make_batches(directory)):  # else the sampler differs already
        with pytest.raises(ValueError, match="DataSource in checkpoint does not match"):
            make_loader(other).set_state(loader.get_state())
    assert repr(other) != repr(make_batches(directory))
    assert " at 0x" not in repr(other)


def test_a_position_in_another_dataset_is_refused(directory: Path, tmp_path: Path):
    write_random_tokens(tmp_path, images=200, side=3, captions=True, array_record=True)
    for make in (make_batches, make_source):
        loader = make_loader(make(directory))
        next(loader)
        with pytest.raises(ValueError, match="DataSource in checkpoint does not match"):
            make_loader(make(tmp_path)).set_state(loader.get_state())


def test_equal_arguments_are_equal_readers(directory: Path):
    numbers = {
        "batch_size": np.int32(10),
        "shuffle_seed": np.uint8(1),
        "epoch": np.int64(2),
        "shard": np.array([0, 2]),
        "sequence": SequenceSpec(bos=np.int64(1005), class_offset=np.int16(1000)),  # type: ignore[arg-type]
    }
    assert repr(make_batches(directory, **numbers)) == repr(make_batches(directory))


if __name__ == "__main__":
    restore_and_read(*sys.argv[1:])
