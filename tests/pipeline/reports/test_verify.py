"""fsq verify finds every kind of damage and says where it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.fixtures import Run
from builders.jobs import job_config
from builders.weights import forge_tokenizer

from fsq.dataset.formats.tfrecord import frame, read_records
from fsq.errors import DataError, RequestError
from fsq.storage.digest import sha256_of_file
from fsq.storage.json_documents import render
from pipeline.reports.verify import verify_dataset
from pipeline.run import tokenize

SHARD = "pets-train.tfrecord-00001-of-00003"


@pytest.fixture(scope="module")
def finished(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "out"
    tokenize(job_config(image_folder, tokenizer_directory, directory))
    return directory


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def records_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(read_records(file, str(path)))


def flip_a_bit(dataset: Path) -> None:
    data = bytearray((dataset / SHARD).read_bytes())
    data[len(frame(records_of(dataset / SHARD)[0])) + 40] ^= 1
    (dataset / SHARD).write_bytes(data)


def truncate(dataset: Path) -> None:
    data = (dataset / SHARD).read_bytes()
    (dataset / SHARD).write_bytes(data[:-5])


def drop_a_record(dataset: Path) -> None:
    (dataset / SHARD).write_bytes(b"".join(map(frame, records_of(dataset / SHARD)[1:])))


def repeat_a_record(dataset: Path) -> None:
    records = records_of(dataset / SHARD)
    (dataset / SHARD).write_bytes(b"".join(map(frame, [records[0], *records])))


def swap_two_records(dataset: Path) -> None:
    first, second, *rest = records_of(dataset / SHARD)
    (dataset / SHARD).write_bytes(b"".join(map(frame, [second, first, *rest])))


def move_a_record(dataset: Path) -> None:
    foreign = records_of(dataset / SHARD.replace("00001-of", "00000-of"))[0]
    records = records_of(dataset / SHARD)
    (dataset / SHARD).write_bytes(b"".join(map(frame, [foreign, *records])))


def remove_a_shard(dataset: Path) -> None:
    (dataset / SHARD).unlink()


def add_a_file(dataset: Path) -> None:
    (dataset / "pets-train.tfrecord-00003-of-00004").write_bytes(b"")


def edit_the_counts(dataset: Path) -> None:
    edit_manifest(dataset, images_listed=101)


def edit_the_manifest(dataset: Path) -> None:
    path = dataset / "manifest.json"
    path.write_text(path.read_text().replace('"name": "pets"', '"name": "cats"', 1))


def edit_the_contract(dataset: Path) -> None:
    contract = json.loads((dataset / "tokenizer.json").read_text())
    (dataset / "tokenizer.json").write_text(json.dumps({**contract, "preset": "official"}))


def forge_the_vocabulary(dataset: Path) -> None:
    # A smaller vocabulary with every sha256 right: only the tokens themselves can tell.
    forge_tokenizer(dataset, levels=[3, 3, 3], vocab_size=27)
    sign_again(dataset, "tokenizer.json")
    sign_again(dataset, "tokenizer.safetensors")


def take_another_preset(dataset: Path) -> None:
    # Every sha256 is right, and every token possible: only the fingerprint tells.
    forge_tokenizer(dataset, preset="official")
    sign_again(dataset, "tokenizer.json")
    sign_again(dataset, "tokenizer.safetensors")


def forge_the_statistics(dataset: Path) -> None:
    stats = json.loads((dataset / "stats.json").read_text())
    token = next(iter(stats["token_counts"]))
    stats["token_counts"][token] += 1
    (dataset / "stats.json").write_text(json.dumps(stats))
    sign_again(dataset, "stats.json")


def swap_the_weights(dataset: Path) -> None:
    data = bytearray((dataset / "tokenizer.safetensors").read_bytes())
    data[-1] ^= 1
    (dataset / "tokenizer.safetensors").write_bytes(data)


def edit_manifest(dataset: Path, **changes: object) -> None:
    path = dataset / "manifest.json"
    path.write_bytes(render({**json.loads(path.read_text()), **changes}))


def sign_again(dataset: Path, name: str) -> None:
    files = json.loads((dataset / "manifest.json").read_text())["files"]
    edit_manifest(dataset, files={**files, name: sha256_of_file(str(dataset / name))})


def test_a_finished_dataset_has_no_problem(dataset: Path):
    assert list(verify_dataset(str(dataset))) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, f"{SHARD}: record 1: expected data that matches its checksum, got damaged "),
        (truncate, "got the end of the file."),
        (drop_a_record, "The dataset is damaged; tokenize it again."),
        (repeat_a_record, f"{SHARD}: record 1: expected records in shuffled order, got one out"),
        (swap_two_records, f"{SHARD}: record 1: expected records in shuffled order, got one out"),
        (
            move_a_record,
            f"{SHARD}: record 0: expected in {SHARD.replace('00001-of', '00000-of')} by its key",
        ),
        (remove_a_shard, f"{SHARD}: expected a file, found none."),
        (add_a_file, "00003-of-00004: expected no such file in the dataset. Remove it."),
        (edit_the_counts, "manifest.json: expected 101 records for 101 images, 0 of them rejected"),
        (edit_the_contract, "tokenizer.json: expected sha256"),
        (forge_the_vocabulary, "tokens: expected values in [0, 27), got"),
        (take_another_preset, "of this dataset, got another: preset was atanh, is official."),
        (forge_the_statistics, "stats.json: expected the token counts of the shards"),
        (swap_the_weights, "tokenizer.safetensors: expected sha256"),
    ],
)
def test_damage_is_found_and_located(dataset: Path, damage: Callable[[Path], None], message: str):
    damage(dataset)
    problems = list(verify_dataset(str(dataset)))
    assert any(message in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        remove_a_shard,
        add_a_file,
        edit_the_counts,
        edit_the_manifest,
        take_another_preset,
        forge_the_statistics,
        swap_the_weights,
    ],
)
def test_the_command_ends_with_1_and_a_line_for_each_problem(
    dataset: Path, damage: Callable[[Path], None], run: Run
):
    whole = run("verify", "out", cwd=dataset.parent)
    assert (whole.returncode, whole.stdout) == (0, "out: all is well\n")
    damage(dataset)
    try:
        problems = list(verify_dataset(str(dataset)))
        summary = f"fsq: out: {len(problems)} problem(s) found."
    except DataError as error:
        problems, summary = [], f"fsq: {error}"
    done = run("verify", "out", cwd=dataset.parent)
    relative = [line.replace(f"{dataset}", "out") for line in (*problems, summary)]
    assert [*done.stdout.splitlines(), *done.stderr.splitlines()] == relative
    assert done.returncode == 1 and relative


def test_every_single_flipped_byte_of_a_shard_is_found(dataset: Path):
    data = (dataset / SHARD).read_bytes()
    for position in range(0, len(data), 997):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        (dataset / SHARD).write_bytes(damaged)
        assert list(verify_dataset(str(dataset))) != []


def test_an_edited_manifest_is_found(dataset: Path):
    edit_the_manifest(dataset)
    with pytest.raises(DataError, match="expected content that matches its sha256"):
        list(verify_dataset(str(dataset)))


def test_a_manifest_with_other_spaces_is_found(dataset: Path):
    path = dataset / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    (problem,) = verify_dataset(str(dataset))
    assert problem.startswith(f"{path}: expected its text as it was written")


@pytest.mark.parametrize(
    "name", ["manifest.json", "stats.json", "rejects.jsonl", "tokenizer.safetensors", SHARD]
)
def test_what_never_ends_is_not_read(dataset: Path, name: str):
    (dataset / name).unlink()
    (dataset / name).symlink_to("/dev/zero")
    (problem,) = verify_dataset(str(dataset))
    assert problem.startswith(f"{dataset / name}: expected a file, found ")


def test_a_directory_without_manifest_is_no_dataset(dataset: Path):
    (dataset / "manifest.json").unlink()
    with pytest.raises(RequestError) as error:
        list(verify_dataset(str(dataset)))
    assert str(error.value) == (
        f"{dataset}: expected a finished dataset, found no manifest.json. "
        "Check the path, or finish it with 'fsq tokenize'."
    )
