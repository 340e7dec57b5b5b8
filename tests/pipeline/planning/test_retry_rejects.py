"""Retry of rejects: repaired images join the rest, and the result is that of a whole run."""

import functools
import json
import os
import shutil
from pathlib import Path

import pytest
from builders.jobs import MakeConfig

import pipeline.stages.encode_units
from fsq.errors import DataError, RequestError
from pipeline.reports.verify import verify_dataset
from pipeline.run import retry_rejects, tokenize

pytestmark = pytest.mark.slow

BAD = {"cats/001.png": b"", "cats/041.png": b"<html>", "dogs/050.png": b"\x89PNG"}


@pytest.fixture
def photos(image_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(image_folder, tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def make_config(make_config: MakeConfig, photos: Path) -> MakeConfig:
    views = ["center", "center_flipped"]
    return functools.partial(make_config, source=photos, views=views, max_reject_fraction=0.05)


def corrupt(photos: Path) -> dict[str, bytes]:
    """Damages three images; returns what they were."""
    whole = {name: (photos / name).read_bytes() for name in BAD}
    for name, data in BAD.items():
        (photos / name).write_bytes(data)
    return whole


def repair(photos: Path, whole: dict[str, bytes]) -> None:
    for name, data in whole.items():
        (photos / name).write_bytes(data)


def all_bytes(directory: str) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(directory).iterdir())
        if path.name != "timing.json"
    }


@pytest.fixture
def expected(make_config: MakeConfig) -> dict[str, bytes]:
    """All bytes of an undisturbed run at the same place."""
    config = make_config()
    tokenize(config)
    content = all_bytes(config.output.directory)
    shutil.rmtree(config.output.directory)
    return content


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each unit that is encoded reads."""
    encode_unit, counts = pipeline.stages.encode_units.encode_unit, []

    def counting(unit, *rest, **named):
        counts.append(unit.num_records)
        return encode_unit(unit, *rest, **named)

    monkeypatch.setattr(pipeline.stages.encode_units, "encode_unit", counting)
    return counts


def test_repaired_rejects_of_a_finished_dataset_join_it(
    make_config: MakeConfig, photos: Path, expected: dict[str, bytes], encoded: list[int]
):
    whole = corrupt(photos)
    config = make_config()
    assert tokenize(config).images_rejected == 3
    repair(photos, whole)
    encoded.clear()
    summary = retry_rejects(config.output.directory)
    assert (summary.images_retried, summary.images_rejected, summary.records) == (3, 0, 200)
    assert sum(encoded) == 3
    assert all_bytes(config.output.directory) == expected
    assert list(verify_dataset(config.output.directory)) == []
    assert tokenize(config).records == 200  # the same job, finished


def test_repaired_rejects_join_a_dataset_of_some_of_the_images(
    make_config: MakeConfig, photos: Path
):
    """A limit amid a file with rejects: what lies behind it was never part of the dataset."""
    config = make_config(max_reject_fraction=0.1)
    tokenize(config, limit=30)
    undisturbed = all_bytes(config.output.directory)
    shutil.rmtree(config.output.directory)
    whole = {name: (photos / name).read_bytes() for name in BAD if name.startswith("cats")}
    repair(photos, {name: BAD[name] for name in whole})
    assert tokenize(config, limit=30).images_rejected == 2
    repair(photos, whole)
    summary = retry_rejects(config.output.directory)
    assert (summary.images_retried, summary.images_rejected, summary.records) == (2, 0, 60)
    assert all_bytes(config.output.directory) == undisturbed


def test_what_is_not_repaired_stays_a_reject(
    make_config: MakeConfig, photos: Path, encoded: list[int]
):
    whole = corrupt(photos)
    config = make_config()
    tokenize(config)
    repair(photos, {"dogs/050.png": whole["dogs/050.png"]})
    summary = retry_rejects(config.output.directory)
    assert (summary.images_retried, summary.images_rejected) == (3, 2)
    mixed = all_bytes(config.output.directory)
    shutil.rmtree(config.output.directory)
    tokenize(config)
    assert mixed == all_bytes(config.output.directory)
    repair(photos, whole)
    assert retry_rejects(config.output.directory).images_retried == 2


def test_repaired_rejects_of_an_unfinished_job_are_all_that_is_encoded(
    make_config: MakeConfig, photos: Path, expected: dict[str, bytes], encoded: list[int]
):
    whole = corrupt(photos)
    strict = make_config(max_reject_fraction=0.02)
    with pytest.raises(DataError, match="fsq tokenize --only-rejects"):
        tokenize(strict, beam_options=["--runner=FnApiRunner", "--direct_num_workers=1"])
    done = sum(encoded)
    repair(photos, whole)
    encoded.clear()
    summary = retry_rejects(strict.output.directory, make_config())
    assert (summary.images_retried, summary.images_rejected, summary.records) == (3, 0, 200)
    assert sum(encoded) == 100 - done + 3
    assert all_bytes(strict.output.directory) == expected


@pytest.mark.parametrize("command", ["the same", "tokenize"])
@pytest.mark.parametrize("finished", [True, False])
def test_an_interrupted_retry_is_resumed(
    make_config: MakeConfig,
    photos: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    finished: bool,
):
    whole = corrupt(photos)
    config = make_config(max_reject_fraction=0.05 if finished else 0.02)
    directory = config.output.directory
    if finished:
        tokenize(config)
    else:
        with pytest.raises(DataError):
            tokenize(config)
        config = make_config()
    repair(photos, whole)
    with monkeypatch.context() as patch:

        def failing(*rest, **named):
            raise OSError(5, "Input/output error", "a disk")

        patch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
        with pytest.raises(DataError, match="a disk: Input/output error"):
            retry_rejects(directory, config)
    assert not Path(directory, "manifest.json").exists()
    if command == "tokenize":
        tokenize(config)
    else:
        retry_rejects(directory, config)
    assert all_bytes(directory) == expected


def test_a_unit_of_rejects_alone_can_be_repaired(
    make_config: MakeConfig, photos: Path, expected: dict[str, bytes]
):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("cats/*.png"))
    # The third unit of 16, a lone one, and one that the job stops before.
    whole = {name: (photos / name).read_bytes() for name in [*names[32:48], names[3], names[-1]]}
    for name in whole:
        (photos / name).write_bytes(b"")
    strict = make_config(max_reject_fraction=0.0)
    one_worker = ["--runner=FnApiRunner", "--direct_num_workers=1"]
    with pytest.raises(DataError, match="These are listed in"):
        tokenize(strict, beam_options=one_worker)
    directory = strict.output.directory
    for _ in range(2):  # nothing is repaired; all that is known stays known
        with pytest.raises(DataError, match="All are listed in"):
            retry_rejects(directory, beam_options=one_worker)
        lines = Path(directory, "rejects.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["key"] for line in lines) == sorted(whole)
    repair(photos, whole)
    assert retry_rejects(directory).images_rejected == 0
    found = all_bytes(directory)
    text = [found.pop("config.yaml"), dict(expected).pop("config.yaml")]
    assert text[0].replace(b"fraction: 0.0\n", b"fraction: 0.05\n") == text[1]
    assert found.keys() == expected.keys() - {"config.yaml"}
    assert {n for n in found if found[n] != expected[n]} == {
        "manifest.json"
    }  # it hashes the config


def test_rejects_of_a_retry_that_was_stopped_may_still_be_repaired(
    make_config: MakeConfig,
    photos: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    whole = corrupt(photos)
    config = make_config()
    tokenize(config)
    with monkeypatch.context() as patch:

        def failing(*rest, **named):
            raise OSError(5, "Input/output error", "a disk")

        patch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
        with pytest.raises(DataError, match="a disk"):
            retry_rejects(config.output.directory)
    repair(photos, whole)
    assert retry_rejects(config.output.directory).images_rejected == 0
    assert all_bytes(config.output.directory) == expected


def test_another_spelling_of_the_directory_changes_nothing(
    make_config: MakeConfig,
    photos: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    whole = corrupt(photos)
    config = make_config()
    tokenize(config)
    repair(photos, whole)
    monkeypatch.chdir(Path(config.output.directory).parent)
    retry_rejects("out")
    assert all_bytes(config.output.directory) == expected


def test_an_image_that_was_written_before_may_not_change(make_config: MakeConfig, photos: Path):
    whole = corrupt(photos)
    config = make_config()
    tokenize(config)
    before = all_bytes(config.output.directory)
    repair(photos, whole)
    other = photos / "cats" / "003.png"
    shutil.copyfile(photos / "cats" / "009.png", other)
    with pytest.raises(RequestError, match="rejected images only, found others in cats"):
        retry_rejects(config.output.directory)
    assert list(verify_dataset(config.output.directory)) == []
    assert all_bytes(config.output.directory) == before


@pytest.mark.parametrize("change", ["swapped", "renamed"])
def test_images_of_a_folder_without_rejects_may_not_change_names(
    make_config: MakeConfig, photos: Path, change: str
):
    """Their number and the sum of their sizes stay the same; their keys are those of others."""
    bad = photos / "cats" / "001.png"
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    config = make_config()
    tokenize(config)
    bad.write_bytes(whole)
    first, second = sorted((photos / "dogs").iterdir(), key=lambda path: path.stat().st_size)[::40]
    assert first.stat().st_size != second.stat().st_size
    first.rename(photos / "dogs" / "other.png")
    if change == "swapped":
        second.rename(first)
        (photos / "dogs" / "other.png").rename(second)
    before = all_bytes(config.output.directory)
    message = r"expected changes in rejected images only, found another: input files dogs"
    with pytest.raises(RequestError, match=message):
        retry_rejects(config.output.directory)
    assert all_bytes(config.output.directory) == before


def test_an_unfinished_job_notices_a_rewritten_image(make_config: MakeConfig, photos: Path):
    corrupt(photos)
    strict = make_config(max_reject_fraction=0.02)
    with pytest.raises(DataError):
        tokenize(strict, beam_options=["--runner=FnApiRunner", "--direct_num_workers=1"])
    path = photos / "cats" / "003.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    with pytest.raises(RequestError, match="rejected images only, found others in"):
        retry_rejects(strict.output.directory)


def test_a_source_with_more_or_fewer_images_is_another_job(make_config: MakeConfig, photos: Path):
    corrupt(photos)
    config = make_config()
    tokenize(config)
    (photos / "cats" / "041.png").unlink()
    with pytest.raises(RequestError, match=r"input files cats records was 50, is 49\."):
        retry_rejects(config.output.directory)
    (photos / "cats" / "041.png").write_bytes(BAD["cats/041.png"])
    with pytest.raises(RequestError, match=r"batch_size was 8, is 16\."):
        retry_rejects(config.output.directory, make_config(batch_size=16))


def test_without_rejects_nothing_happens(make_config: MakeConfig):
    config = make_config()
    tokenize(config)
    before = all_bytes(config.output.directory)
    assert retry_rejects(config.output.directory).images_retried == 0
    assert all_bytes(config.output.directory) == before


def test_a_directory_without_a_job_is_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="expected a dataset or an unfinished job, found neith"):
        retry_rejects(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["config.yaml", "rejects.jsonl", "stats.json"])
@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff\xfe\0"])
def test_a_damaged_file_of_a_finished_dataset_is_one_line(
    make_config: MakeConfig, photos: Path, name: str, content: bytes
):
    corrupt(photos)
    config = make_config()
    tokenize(config)
    path = Path(config.output.directory) / name
    path.write_bytes(content)
    before = all_bytes(config.output.directory)
    with pytest.raises(DataError, match=f"{name}: expected sha256 .* The dataset is damaged"):
        retry_rejects(config.output.directory)
    assert not (path.parent / ".work").exists()
    assert all_bytes(config.output.directory) == before


def test_a_damaged_config_of_an_unfinished_job_is_one_line(make_config: MakeConfig, photos: Path):
    corrupt(photos)
    config = make_config(max_reject_fraction=0)
    with pytest.raises(DataError):
        tokenize(config)
    (Path(config.output.directory) / ".work" / "config.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match=r"config.yaml: expected the config of the job as YAML"):
        retry_rejects(config.output.directory)


def test_rejects_say_where_they_are(make_config: MakeConfig, photos: Path):
    corrupt(photos)
    config = make_config()
    tokenize(config)
    lines = Path(config.output.directory, "rejects.jsonl").read_text().splitlines()
    assert [(r["key"], r["file"], r["record"]) for r in map(json.loads, lines)] == [
        ("cats/001.png", "cats", 0),
        ("cats/041.png", "cats", 20),
        ("dogs/050.png", "dogs", 75),
    ]
