"""Journeys of whole jobs, in this process: the same bytes, nothing lost, nothing mixed."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import yaml
from builders.image_cases import NONE_OF_OURS
from builders.jobs import MakeConfig, files_of
from builders.weights import forge_tokenizer

from fsq.dataset import token_dataset
from fsq.dataset.formats.tfrecord import frame
from fsq.dataset.manifest import SplitEntry
from fsq.dataset.records import Place, place_digest, place_of
from fsq.errors import DataError, RequestError
from fsq.images.crop import center_crop
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.runtimes.batch_encoder import BatchEncoder
from fsq.tokenizer import Tokenizer
from fsq.yaml_config import dump_config
from pipeline.core.records import Span
from pipeline.job.config import TokenizeConfig
from pipeline.job.job import Job
from pipeline.planning.plan import make_plan
from pipeline.planning.prepare import runtime_note
from pipeline.reports.verify import verify_dataset
from pipeline.run import Summary, tokenize
from pipeline.work.unit_files import PlacedRecord, SliceReader, pack_part

pytestmark = pytest.mark.slow


def read_examples(directory: Path | str) -> list[tf.train.Example]:
    files = sorted(map(str, Path(directory).glob("*.tfrecord-*")))
    return [
        tf.train.Example.FromString(data)
        for data in tf.data.TFRecordDataset(files).as_numpy_iterator()
    ]


def read_rejects(directory: Path | str) -> list[dict[str, str]]:
    lines = (Path(directory) / "rejects.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_image_is_written_with_the_tokens_that_the_tokenizer_gives_it(
    make_config: MakeConfig, image_folder: Path, tokenizer_directory: Path
):
    config = make_config(views=["center", "center_flipped"])
    summary = tokenize(config)
    directory = config.output.directory
    assert summary == Summary(
        directory=directory,
        images_listed=100,
        images_rejected=0,
        rejects_by_reason={},
        rejects_by_file={},
        records=200,
        splits={"train": SplitEntry(images=100, records=200)},
        num_shards=3,
        units_resumed=0,
        num_units=13,
        runtime=runtime_note(make_plan(config)),
        classes=("2, 'cats' to 'dogs'",),
    )
    tokenizer = Tokenizer.load(tokenizer_directory, batch_size=8)
    seen = set()
    for example in read_examples(directory):
        feature = example.features.feature
        key = feature["key"].bytes_list.value[0].decode()
        view = feature["view"].bytes_list.value[0].decode()
        image = decode_image((image_folder / key).read_bytes(), 3)
        crop = center_crop(image.shape[1], image.shape[0])
        flip = view == "center_flipped"
        pixels = fit_image(image, tokenizer.contract.image, flip=flip)
        expected = tokenizer.encode(pixels[None]).astype("<u1").tobytes()
        assert feature["tokens"].bytes_list.value[0] == expected
        assert tuple(feature["crop"].int64_list.value) == crop
        assert list(feature["flip"].int64_list.value) == [int(flip)]
        assert list(feature["label"].int64_list.value) == [int(key.startswith("dogs"))]
        seen.add((key, view))
    assert len(seen) == 200


def test_the_same_job_gives_the_same_bytes_whatever_the_workers(make_config: MakeConfig):
    runs = []
    for number, options in enumerate(
        [
            [],
            ["--runner=FnApiRunner", "--direct_num_workers=1"],
            [
                "--runner=FnApiRunner",
                "--direct_running_mode=multi_threading",
                "--direct_num_workers=5",
            ],
        ]
    ):
        config = make_config(f"run{number}")
        tokenize(config, beam_options=options)
        runs.append(files_of(config.output.directory))
    assert list(runs[0]) == [
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "pets-train.tfrecord-00000-of-00003",
        "pets-train.tfrecord-00001-of-00003",
        "pets-train.tfrecord-00002-of-00003",
        "rejects.jsonl",
        "stats.json",
        "tokenizer.json",
        "tokenizer.safetensors",
    ]
    assert runs[1] == runs[0]
    assert runs[2] == runs[0]


def test_a_run_that_failed_is_resumed_and_ends_in_the_same_bytes(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    undisturbed = make_config("undisturbed")
    tokenize(undisturbed)

    import pipeline.stages.encode_units

    encode_unit = pipeline.stages.encode_units.encode_unit
    encoded = []

    def failing(unit, *rest, **named):
        encoded.append(unit.name)
        if unit.name in ("unit-000003", "unit-000007"):
            raise OSError(5, "Input/output error", unit.path)
        return encode_unit(unit, *rest, **named)

    monkeypatch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
    config = make_config("disturbed")
    with pytest.raises(DataError, match=r"Input/output error\. \(1 more units failed\)$"):
        tokenize(config)
    assert len(encoded) == 13
    assert not list(Path(config.output.directory).glob("*.tfrecord-*"))

    encoded.clear()
    monkeypatch.setattr(
        pipeline.stages.encode_units,
        "encode_unit",
        lambda unit, *rest, **named: encoded.append(unit.name) or encode_unit(unit, *rest, **named),
    )
    assert tokenize(config).units_resumed == 11
    assert sorted(encoded) == ["unit-000003", "unit-000007"]
    assert files_of(config.output.directory) == files_of(undisturbed.output.directory)
    assert not (Path(config.output.directory) / ".work").exists()


def test_a_finished_dataset_is_left_alone(make_config: MakeConfig):
    config = make_config()
    tokenize(config)
    directory = Path(config.output.directory)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert tokenize(config).units_resumed == 13
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_a_config_is_given_as_a_model_or_as_the_path_of_its_file(
    make_config: MakeConfig, tmp_path: Path
):
    config = make_config(runtime="tensorflow")
    file = tmp_path / "job.yaml"
    file.write_text(dump_config(config))
    done = tokenize(file)
    assert tokenize(config) == dataclasses.replace(done, units_resumed=done.num_units)
    assert tokenize(str(file)) == tokenize(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 16}, "batch_size was 8, is 16."),
        ({"decode": {"truncated": "fill"}}, "decode truncated was refuse, is fill."),
        ({"views": ["center_flipped"]}, "tokenizer views was ['center'], is ['center_flipped']."),
        ({"output": {"num_shards": 2}}, "splits train num_shards was 3, is 2."),
        ({"output": {"tokens": "int64_list"}}, "tokenizer dtype was uint8, is int64_list."),
    ],
)
def test_another_job_in_the_same_directory_is_refused_until_it_is_overwritten(
    make_config: MakeConfig, changes: dict, message: str
):
    config = make_config()
    tokenize(config)
    before = files_of(config.output.directory)
    with pytest.raises(RequestError) as error:
        tokenize(make_config(**changes))
    assert "expected a dataset of this job, found a dataset of another job: " in str(error.value)
    assert message in str(error.value)
    assert files_of(config.output.directory) == before
    tokenize(make_config(**changes), overwrite=True)
    fresh = make_config("fresh", **changes)
    tokenize(fresh)
    assert files_of(config.output.directory) == files_of(fresh.output.directory)


def test_another_input_or_limit_is_refused(make_config: MakeConfig, image_folder: Path, tmp_path):
    copied = tmp_path / "images"
    shutil.copytree(image_folder, copied)
    config = make_config(source={"kind": "image_folder", "directory": str(copied)})
    tokenize(config)
    with pytest.raises(RequestError, match=r"limit was absent, is 10\."):
        tokenize(config, limit=10)
    assert tokenize(config, limit=1_000_000).units_resumed > 0  # no limit at all
    (copied / "cats" / "new.png").write_bytes((copied / "cats" / "001.png").read_bytes())
    message = r"found a dataset of another job: input files cats records was 50, is 51\."
    with pytest.raises(RequestError, match=message):
        tokenize(config)


def test_foreign_files_are_neither_mixed_with_nor_removed(make_config: MakeConfig):
    config = make_config()
    directory = Path(config.output.directory)
    directory.mkdir()
    (directory / "thesis.txt").write_text("precious")
    with pytest.raises(RequestError, match=r"expected only files of this job, found 'thesis.txt'"):
        tokenize(config)
    with pytest.raises(RequestError, match=r"only files of fsq to overwrite, found 'thesis.txt'"):
        tokenize(config, overwrite=True)
    assert [path.name for path in directory.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "names", [("tokenizer.json", "tokenizer.safetensors"), ("config.yaml",), ("label.labels.txt",)]
)
def test_files_with_the_names_of_ours_but_without_a_job_are_somebody_elses(
    make_config: MakeConfig, names: tuple[str, ...]
):
    """As in the directory of a tokenizer, whose weights would be lost."""
    config = make_config()
    directory = Path(config.output.directory)
    directory.mkdir()
    for name in names:
        (directory / name).write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(RequestError, match=f"found '{names[0]}'"):
            tokenize(config, overwrite=overwrite)
    assert {path.name: path.read_text() for path in directory.iterdir()} == dict.fromkeys(
        names, "precious"
    )


@pytest.mark.parametrize("place", [".", "out", "cats/out"])
def test_an_output_among_the_images_is_refused(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path, place: str
):
    """Its folder would become a class, or its files would be listed as left out."""
    photos = tmp_path / "photos"
    shutil.copytree(image_folder, photos)
    config = make_config(source=photos, output={"directory": str(photos / place)})
    with pytest.raises(RequestError, match=r"expected an output outside of source\.directory"):
        tokenize(config)
    assert not (photos / "out").exists()


LEFT_BEHIND = [".DS_Store", "._x", ".nfs0000000000a1", "Thumbs.db", "slurm-17.out", "run.log"]


def test_what_people_and_systems_leave_in_an_output_is_in_nobodys_way(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    config = make_config()
    directory = Path(config.output.directory)
    directory.mkdir()
    for name in LEFT_BEHIND:
        (directory / name).write_text("left behind")
    interrupt(config, monkeypatch)
    # Beside a job any name will do that is not the name of a part of some dataset.
    others = {*LEFT_BEHIND, "notes.md"}
    (directory / "notes.md").write_text("left behind")
    assert tokenize(config).units_resumed > 0
    tokenize(make_config("alone"))
    expected = files_of(make_config("alone").output.directory)
    for _ in range(2):
        found = files_of(directory)
        assert {name: found.pop(name) for name in others} == dict.fromkeys(others, b"left behind")
        assert found == expected
        assert list(verify_dataset(str(directory))) == []
        with (directory / "run.log").open("w") as log:
            log.write("left behind")
        assert tokenize(config, overwrite=True).units_resumed == 0


def test_a_shard_of_another_dataset_is_neither_mixed_with_nor_removed(make_config: MakeConfig):
    config = make_config()
    tokenize(config)
    other = Path(config.output.directory, "other-train.tfrecord-00000-of-00002")
    other.write_text("precious")
    with pytest.raises(RequestError, match=r"only files of fsq to overwrite, found 'other-train"):
        tokenize(config, overwrite=True)
    assert other.read_text() == "precious"
    assert list(verify_dataset(config.output.directory)) == [
        f"{other}: expected no such file in the dataset. Remove it."
    ]


def test_a_foreign_manifest_does_not_make_a_directory_ours(make_config: MakeConfig):
    config = make_config()
    directory = Path(config.output.directory)
    directory.mkdir()
    (directory / "manifest.json").write_text('{"app": "somebody else"}')
    (directory / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="expected format version 4, got None"):
        tokenize(config, overwrite=True)
    assert (directory / "thesis.txt").read_text() == "precious"


def interrupt(config: TokenizeConfig, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Leaves a job behind in which every unit but one is done."""
    import pipeline.stages.encode_units

    with monkeypatch.context() as patch:
        encode_unit = pipeline.stages.encode_units.encode_unit

        def failing(unit, *rest, **named):
            if unit.name == "unit-000003":
                raise OSError(5, "Input/output error", unit.path)
            return encode_unit(unit, *rest, **named)

        patch.setattr(pipeline.stages.encode_units, "encode_unit", failing)
        with pytest.raises(DataError):
            tokenize(config)
    return make_plan(config).job


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a part cut off": lambda job: cut(Path(job.part("unit-000005"))),
    "a part flipped": lambda job: flip(Path(job.part("unit-000005"))),
    "a part gone": lambda job: Path(job.part("unit-000005")).unlink(),
    "a part swapped": lambda job: shutil.copy(job.part("unit-000004"), job.part("unit-000005")),
    "an empty status": lambda job: Path(job.part_status("unit-000005")).write_bytes(b""),
    "a status that is no mapping": lambda job: Path(job.part_status("unit-000005")).write_bytes(
        b"[]"
    ),
    "leftovers of a kill": lambda job: [
        Path(job.output, name).write_bytes(b"half")
        for name in (
            ".manifest.json.0123abcd.tmp",
            ".stats.json.89abcdef.tmp",
            f"{job.parts}/.unit-000005.part.01234567.tmp",
        )
    ],
}


FOUND = {
    "a part cut off": r"unit-000005\.part: expected the bytes that were written, got others in rec",
    "a part flipped": r"unit-000005\.part: expected the bytes .* record 4[0-7] of .*list",
    "a part gone": r"unit-000005\.part: expected a part, found none\.",
    "a part swapped": r"unit-000005\.part: expected the bytes that were written, got others in its",
    "an empty status": r"unit-000005\.json: expected the status of a unit, got something else\.",
    "a status that is no mapping": r"unit-000005\.json: expected the status of a unit, got someth",
    "leftovers of a kill": None,
}


@pytest.mark.parametrize("damage", DAMAGES.keys())
def test_verify_finds_what_is_damaged_in_an_unfinished_job(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, damage: str
):
    config = make_config()
    directory = config.output.directory
    DAMAGES[damage](interrupt(config, monkeypatch))
    *problems, last = verify_dataset(directory)
    done = 12 if FOUND[damage] is None else 11
    assert last == (
        f"{directory}: expected a finished dataset, found a job with {done} of 13 units done. "
        "Run the same 'fsq tokenize' command again."
    )
    assert len(problems) == 12 - done
    if problems:
        assert re.search(FOUND[damage], problems[0])
        assert problems[0].endswith("The unit is encoded again when the job is resumed.")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_an_interruption_may_leave_damaged_is_done_again(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Job], object]
):
    undisturbed = make_config("undisturbed")
    tokenize(undisturbed)
    config = make_config()
    damage(interrupt(config, monkeypatch))
    assert tokenize(config).units_resumed in (11, 12)
    assert files_of(config.output.directory) == files_of(undisturbed.output.directory)
    assert list(verify_dataset(config.output.directory)) == []


def test_parts_without_a_job_file_are_not_reused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    config = make_config()
    job = interrupt(config, monkeypatch)
    Path(job.work, "job.json").unlink()
    other = make_config(views=["center_flipped"])
    assert tokenize(other).units_resumed == 0
    fresh = make_config("fresh", views=["center_flipped"])
    tokenize(fresh)
    assert files_of(other.output.directory) == files_of(fresh.output.directory)


def test_a_damaged_job_and_files_that_came_in_between_are_refused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    config = make_config()
    job = interrupt(config, monkeypatch)
    foreign = Path(job.output, "other-train.tfrecord-00000-of-00002")
    foreign.touch()
    with pytest.raises(RequestError, match=r"only files of this job, found 'other-train\.tfrec"):
        tokenize(config)
    foreign.unlink()
    for content in ("", "[]", "{}"):
        Path(job.work, "job.json").write_text(content)
        with pytest.raises(
            RequestError, match=r"job\.json: expected a job file, got something else"
        ):
            tokenize(config)


def test_weights_that_do_not_fit_are_refused_before_the_job_begins(
    make_config: MakeConfig, tokenizer_directory: Path, tmp_path: Path
):
    misfit = tmp_path / "misfit"
    shutil.copytree(tokenizer_directory, misfit)
    network = json.loads((misfit / "tokenizer.json").read_text())["network"]
    forge_tokenizer(misfit, network={**network, "decoder_blocks": 2})
    config = make_config(tokenizer=str(misfit))
    with pytest.raises(RequestError, match="The weights belong to another network"):
        tokenize(config)
    assert not Path(config.output.directory).exists()
    tokenize(make_config())
    with pytest.raises(RequestError, match="The weights belong to another network"):
        tokenize(config, overwrite=True)
    assert list(verify_dataset(config.output.directory)) == []


@pytest.fixture
def corrupted_folder(image_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "corrupted"
    shutil.copytree(image_folder, folder)
    (folder / "cats" / "001.png").write_bytes(b"")
    (folder / "dogs" / "050.png").write_bytes(b"<html>not found</html>")
    return folder


def test_a_bad_image_fails_the_run_after_its_accounting_and_finished_units_are_reused(
    make_config: MakeConfig, corrupted_folder: Path
):
    source = {"kind": "image_folder", "directory": str(corrupted_folder)}
    config = make_config(source=source)
    directory = Path(config.output.directory)
    config = make_config(source=source, max_reject_fraction=0.01)
    with pytest.raises(DataError) as error:
        tokenize(config)
    assert re.fullmatch(
        re.escape(f"{directory}: expected at most 0.01 of 100 images rejected, got 2")
        + "( among the first [0-9]+, then stopped)?: "
        + re.escape(
            "cats/001.png: decode: expected an image, got 0 bytes; "
            f"dogs/050.png: decode: {NONE_OF_OURS}. "
        )
        + "(All|These)"
        + re.escape(
            f" are listed in {directory}/rejects.jsonl. Raise max_reject_fraction and run again, "
            f"or repair these images and run 'fsq tokenize --only-rejects {directory}'; finished "
            "units are reused."
        ),
        str(error.value),
    )
    rejects = read_rejects(directory)
    assert [(r["key"], r["stage"], r["file"], r["record"]) for r in rejects] == [
        ("cats/001.png", "decode", "cats", 0),
        ("dogs/050.png", "decode", "dogs", 75),
    ]
    assert not (directory / "manifest.json").exists()

    summary = tokenize(make_config(source=source, max_reject_fraction=0.02))
    assert summary.units_resumed >= 2
    assert (summary.images_listed, summary.images_rejected, summary.records) == (100, 2, 98)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["rejects_by_reason"] == {
        "decode: expected an image, got 0 bytes": 1,
        f"decode: {NONE_OF_OURS}": 1,
    }


def test_rejects_change_no_other_token(make_config: MakeConfig, corrupted_folder: Path):
    whole, corrupted = (
        make_config("whole"),
        make_config(
            "corrupted_out",
            source={"kind": "image_folder", "directory": str(corrupted_folder)},
            max_reject_fraction=0.02,
        ),
    )
    tokenize(whole)
    tokenize(corrupted)
    rejected = {b"cats/001.png", b"dogs/050.png"}
    expected = [
        example.SerializeToString(deterministic=True)
        for example in read_examples(whole.output.directory)
        if example.features.feature["key"].bytes_list.value[0] not in rejected
    ]
    found = [
        example.SerializeToString(deterministic=True)
        for example in read_examples(corrupted.output.directory)
    ]
    assert found == expected


def test_a_nan_latent_rejects_the_image_with_all_its_views(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
):
    encode_batch = BatchEncoder.encode_batch

    def sometimes_nan(self, images):
        tokens = encode_batch(self, images)
        if len(tokens) == 8:
            tokens[5, 0, 0] = -1
        return tokens

    monkeypatch.setattr(BatchEncoder, "encode_batch", sometimes_nan)
    config = make_config(views=["center", "center_flipped"], max_reject_fraction=1.0)
    summary = tokenize(config)
    assert summary.images_rejected > 0
    assert summary.records == 2 * (100 - summary.images_rejected)
    rejects = read_rejects(config.output.directory)
    assert {(r["stage"], r["reason"]) for r in rejects} == {
        ("encode", "expected finite latents, got NaN or infinity")
    }


@pytest.mark.parametrize("looked_at", [10_000, 1])
def test_a_key_that_comes_twice_is_an_error(
    make_config: MakeConfig,
    tmp_path: Path,
    small_images,
    looked_at: int,
    monkeypatch: pytest.MonkeyPatch,
):
    # Found before anything is encoded, or if it lies too far back, when the shards are merged.
    monkeypatch.setattr("pipeline.sources.example_fields.MAX_RECORDS", looked_at)
    with tf.io.TFRecordWriter(str(tmp_path / "twice.tfrecord")) as writer:
        for number in (1, 2, 1):
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(small_images[number])
            example.features.feature["key"].bytes_list.value.append(b"image-%d" % number)
            writer.write(example.SerializeToString())
    source = {
        "kind": "tfrecord",
        "files": f"{tmp_path}/twice.tfrecord",
        "image": "image",
        "key": "key",
    }
    with pytest.raises(
        DataError,
        match=r"image-1: expected each key once, got it in .*twice\.tfrecord \(record 0\) and in .*"
        r"twice\.tfrecord \(record 2\)\. Rename one of the two, or remove it\.",
    ):
        tokenize(make_config(source=source))
    assert (tmp_path / "out" / ".work").exists() == (looked_at == 1)


def test_tensorflow_datasets_reads_the_result_alone(make_config: MakeConfig):
    config = make_config(output={"split": "test"})
    tokenize(config)
    builder = tfds.builder_from_directory(config.output.directory)
    assert builder.info.features["label"].names == ["cats", "dogs"]
    assert builder.info.splits["test"].num_examples == 100
    theirs = list(tfds.as_numpy(builder.as_dataset(split="test")))
    assert len(theirs) == 100
    assert {record["tokens"].shape for record in theirs} == {(16,)}
    ours = {
        key: tokens
        for batch in token_dataset(config.output.directory, batch_size=7).as_numpy_iterator()
        for key, tokens in zip(batch["key"], batch["tokens"], strict=True)
    }
    for record in theirs:
        np.testing.assert_array_equal(ours[record["key"]], record["tokens"])


def test_tokens_as_integers_are_the_same_tokens(make_config: MakeConfig):
    as_bytes, as_integers = make_config("a"), make_config("b", output={"tokens": "int64_list"})
    tokenize(as_bytes)
    tokenize(as_integers)
    one, other = (
        next(iter(token_dataset(c.output.directory, batch_size=100).as_numpy_iterator()))
        for c in (as_bytes, as_integers)
    )
    assert one["tokens"].dtype == other["tokens"].dtype == np.int32
    np.testing.assert_array_equal(one["tokens"], other["tokens"])
    builder = tfds.builder_from_directory(as_integers.output.directory)
    first = next(iter(tfds.as_numpy(builder.as_dataset(split="train"))))
    assert first["tokens"].dtype == np.int64


def test_a_dataset_decodes_from_its_own_directory(make_config: MakeConfig, tokenizer_directory):
    config = make_config()
    tokenize(config)
    batch = next(iter(token_dataset(config.output.directory, batch_size=5).as_numpy_iterator()))
    tokens = batch["tokens"].reshape(5, 4, 4)
    np.testing.assert_array_equal(
        Tokenizer.load(config.output.directory).decode(tokens),
        Tokenizer.load(tokenizer_directory).decode(tokens),
    )


def test_reading_refuses_what_is_not_finished(tmp_path: Path):
    with pytest.raises(RequestError, match=r"expected a finished dataset, found no manifest.json"):
        token_dataset(str(tmp_path), batch_size=1)


def test_the_resolved_config_in_the_dataset_makes_the_same_dataset(make_config: MakeConfig):
    config = make_config(views=["center_flipped"])
    tokenize(config)
    stored = yaml.safe_load((Path(config.output.directory) / "config.yaml").read_text())
    assert TokenizeConfig.model_validate(stored) == config


def test_the_shuffle_is_a_fixed_hash_of_key_and_view():
    # These numbers are part of the format: another hash would be another order of every dataset.
    assert place_of(b"cats/001.png", "center") == Place(17872100921900197779, 13051033476758609443)
    assert place_of(b"cats/001.png", "center_flipped") != place_of(b"cats/001.png", "center")


def take_all(path: Path, shard: int, num_shards: int, num_ranges: int = 1):
    reader = SliceReader(str(path), shard, num_shards)
    rows, frames = [], []
    for number in range(1, num_ranges + 1):
        more_rows, more_frames = reader.read_below(2**64 * number // num_ranges)
        rows.append(more_rows)
        frames += more_frames
    reader.check()
    return np.concatenate(rows), frames


def placed(number: int, data: bytes) -> PlacedRecord:
    return PlacedRecord(place_digest(b"%d" % number, "center"), data, number)


@pytest.mark.parametrize("num_shards", [1, 2, 7])
@pytest.mark.parametrize("num_ranges", [1, 3, 40])
def test_the_slices_of_a_part_are_the_part(tmp_path: Path, num_shards: int, num_ranges: int):
    records = [placed(n, b"record %d" % n * (n % 5)) for n in range(1000)]
    path = tmp_path / "unit.part"
    path.write_bytes(pack_part(records, [num_shards]))
    expected = sorted(
        (place_of(b"%d" % n, "center"), n, frame(r.data)) for n, r in enumerate(records)
    )
    found = []
    for shard in range(num_shards):
        rows, frames = take_all(path, shard, num_shards, num_ranges)
        places = [Place(*row) for row in rows[["high", "low"]].tolist()]
        assert places == sorted(places)
        assert all(place.shard(num_shards) == shard for place in places)
        found += zip(places, rows["record"].tolist(), frames, strict=True)
    assert sorted(found) == expected


def test_the_shards_of_each_split_come_after_those_of_the_split_before(tmp_path: Path):
    split_of = lambda n: n % 3 if n % 2 else 0
    records = [placed(n, b"%d" % n)._replace(split=split_of(n)) for n in range(100)]
    path = tmp_path / "unit.part"
    path.write_bytes(pack_part(records, [2, 3, 1]))
    found = [take_all(path, shard, 6)[0]["record"].tolist() for shard in range(6)]
    place = lambda n: place_of(b"%d" % n, "center")
    assert found == [
        sorted(
            (n for n in range(100) if split_of(n) == split and place(n).shard(count) == shard),
            key=place,
        )
        for split, count in enumerate([2, 3, 1])
        for shard in range(count)
    ]


def test_an_empty_part_has_empty_slices(tmp_path: Path):
    path = tmp_path / "unit.part"
    path.write_bytes(pack_part([], [2, 1]))
    assert [take_all(path, shard, 3)[1] for shard in range(3)] == [[], [], []]


def test_a_flipped_byte_in_a_part_is_found_by_the_shard_it_belongs_to(tmp_path: Path):
    records = [placed(n, b"record %d" % n) for n in range(12)]
    path = tmp_path / "unit.part"
    data = pack_part(records, [2])
    for position in range(len(data)):
        for mask in (4, 128):
            damaged = bytearray(data)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            found = 0
            for shard in range(2):
                try:
                    take_all(path, shard, 2)
                except DataError as error:
                    assert str(path) in str(error)
                    found += 1
            assert found == (2 if position < 8 else 1), position


def test_planning_changes_nothing_on_disk(make_config: MakeConfig):
    config = make_config()
    plan = make_plan(config)
    assert isinstance(plan.job, Job)
    assert plan.units[0].spans == (Span(0, 0, 8),)
    assert not Path(config.output.directory).exists()
