"""Jobs with buckets: each image in its own aspect ratio, from the first batch to every reader."""

import itertools
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import tensorflow_datasets as tfds
from builders.jobs import MakeConfig, files_of, job_config

from fsq.dataset import SequenceSpec, TokenBatches, TokenSource, token_dataset
from fsq.dataset.example.proto import Example
from fsq.dataset.formats import PRIMARY
from fsq.dataset.formats.tfrecord import frame
from fsq.errors import RequestError
from fsq.images.decode import decode_image
from fsq.images.resampling import fit_image
from fsq.images.spec import ImageSpec
from fsq.tokenizer import Tokenizer
from pipeline.image_dataset import open_images
from pipeline.planning.prepare import prepare
from pipeline.planning.work_folder import set_up_work_folder
from pipeline.recut import Recut
from pipeline.reports.contact_sheet import draw_sheet
from pipeline.reports.inspect import inspect_directory
from pipeline.reports.verify import verify_dataset
from pipeline.run import load_encoder, retry_rejects, tokenize
from pipeline.stages.encode_units import tokenize_unit

BUCKETS = [[16, 16], [12, 20], [24, 12]]
# The images are 16 x 16, 24 x 16 and 17 x 31 pixels (width x height), in turns.
GRIDS = {"4 x 4": 34, "3 x 5": 33, "6 x 3": 33}


@pytest.fixture(scope="module")
def dataset(image_folder: Path, tokenizer_directory: Path, tmp_path_factory) -> Path:
    """The 100 images in three buckets, in both formats."""
    directory: Path = tmp_path_factory.mktemp("buckets") / "out"
    config = job_config(
        image_folder,
        tokenizer_directory,
        directory,
        buckets=BUCKETS,
        output={"formats": ["tfrecord", "array_record"]},
    )
    tokenize(config)
    return directory


def test_inspect_stats_and_verify_know_the_grids(dataset: Path):
    assert list(verify_dataset(str(dataset))) == []
    found = dict(inspect_directory(str(dataset)))
    assert found["grids"] == "4 x 4: 34 records; 3 x 5: 33 records; 6 x 3: 33 records"
    assert found["tokens"].startswith("4 x 4 or 3 x 5 or 6 x 3, ")


def expected_tokens(dataset: Path, image_folder: Path) -> dict[bytes, np.ndarray]:
    """Tokens by key, [rows, columns]: each image fitted and encoded by hand."""
    tokenizer = Tokenizer.load(dataset, batch_size=8)
    contract = tokenizer.contract
    sized = {(height, width): tokenizer.at_size(height, width) for height, width in BUCKETS}
    found = {}
    for path in sorted(image_folder.rglob("*.png")):
        pixels = decode_image(path.read_bytes(), 3)
        spec = contract.fitted_to(*pixels.shape[:2])
        fitted = fit_image(pixels, spec)[None]
        key = path.relative_to(image_folder).as_posix().encode()
        (found[key],) = sized[spec.shape[:2]].encode(fitted)
    return found


@pytest.fixture(scope="module")
def tokens(dataset: Path, image_folder: Path) -> dict[bytes, np.ndarray]:
    return expected_tokens(dataset, image_folder)


def test_every_image_has_the_tokens_of_its_own_bucket(dataset: Path, tokens: dict):
    (batches, source) = TokenBatches(dataset, batch_size=8), TokenSource(dataset)
    assert {f"{r} x {c}" for r, c in batches.contract.grids} == GRIDS.keys()
    read = [(key, grid, row) for b in batches for key, grid, row in rows_of(b)]
    single = [(r["key"], tuple(r["grid"].tolist()), r["tokens"]) for r in source]
    for found in (read, single):
        assert sorted(key for key, _, _ in found) == sorted(tokens)
        for key, grid, row in found:
            assert grid == tokens[key].shape
            np.testing.assert_array_equal(row, tokens[key].ravel())


def rows_of(batch: dict) -> list[tuple[bytes, tuple[int, int], np.ndarray]]:
    grids = [tuple(grid) for grid in batch["grid"].tolist()]
    assert len(set(grids)) == 1  # a batch has one grid
    return list(zip(batch["key"].tolist(), grids, batch["tokens"], strict=True))


def test_an_epoch_has_each_record_once_in_an_order_of_its_own(dataset: Path):
    def keys(**arguments: Any) -> list[bytes]:
        batches = TokenBatches(dataset, batch_size=8, **arguments)
        assert [len(b["key"]) for b in batches].count(8) == 4 + 4 + 4
        return [key for batch in batches for key, _, _ in rows_of(batch)]

    first, second = keys(shuffle_seed=1), keys(shuffle_seed=1, epoch=1)
    assert sorted(first) == sorted(second) == sorted(keys())
    assert len(set(first)) == 100
    assert first != second
    assert first == keys(shuffle_seed=1)


def test_a_batch_depends_on_its_index_alone(dataset: Path):
    batches = TokenBatches(dataset, batch_size=8, shuffle_seed=5)
    backwards = [batches[number] for number in reversed(range(len(batches)))][::-1]
    again = pickle.loads(pickle.dumps(batches))
    for number, batch in enumerate(backwards):
        for other in (again[number], batches[number]):
            np.testing.assert_array_equal(batch["tokens"], other["tokens"])
            np.testing.assert_array_equal(batch["key"], other["key"])


def test_hosts_share_each_bucket_and_take_the_same_steps(dataset: Path):
    def share(index: int, **arguments: Any) -> list[dict]:
        return list(
            TokenBatches(dataset, batch_size=4, shuffle_seed=2, shard=(index, 3), **arguments)
        )

    every = [key for index in range(3) for batch in share(index) for key, _, _ in rows_of(batch)]
    assert len(every) == len(set(every)) == 100
    steps = [[b["tokens"].shape for b in share(index, drop_remainder=True)] for index in range(3)]
    assert steps[0] == steps[1] == steps[2]
    assert {rows for shapes in steps for rows, _ in shapes} == {4}
    assert len(steps[0]) == 2 + 2 + 2


def test_tensorflow_reads_the_same_batches_from_any_start(dataset: Path):
    arguments = {"batch_size": 8, "shuffle_seed": 3}
    batches = TokenBatches(dataset, **arguments)
    read = list(token_dataset(dataset, start=5, **arguments).as_numpy_iterator())
    assert len(read) == len(batches) - 5
    for number, batch in enumerate(read, start=5):
        assert batch.keys() == batches[number].keys()
        for name, values in batch.items():
            np.testing.assert_array_equal(values, batches[number][name])


def test_sequences_are_as_long_as_their_grid_or_packed_to_one_length(dataset: Path, tokens: dict):
    plain = list(TokenBatches(dataset, batch_size=8, sequence=SequenceSpec(bos=60)))
    assert {batch["tokens"].shape[1] for batch in plain} == {17, 16, 19}
    for batch in plain:
        lengths = batch["grid"].prod(axis=1) + 1
        assert set(lengths.tolist()) == {batch["tokens"].shape[1]}
    packed_spec = SequenceSpec(bos=60, pad=61, length=38)
    packed = TokenBatches(dataset, batch_size=2, sequence=packed_spec, drop_remainder=True)
    assert {batch["tokens"].shape for batch in packed} == {(2, 38)}
    assert packed.element_spec()["tokens"][1] == (38,)
    found = []
    for batch in TokenBatches(dataset, batch_size=2, sequence=packed_spec):
        length = 1 + int(batch["grid"][0].prod())
        images = batch["tokens"][:, : 38 // length * length].reshape(-1, length)
        found += [tuple(row[1:].tolist()) for row in images if row[0] == 60]
    assert sorted(found) == sorted(tuple(each.ravel().tolist()) for each in tokens.values())
    source = TokenSource(dataset, sequence=SequenceSpec(bos=60))
    for record in (source[0], *source.__getitems__(range(40))):
        assert len(record["tokens"]) == 1 + record["grid"].prod()


def test_tensorflow_datasets_loads_tokens_of_several_lengths(dataset: Path, tokens: dict):
    examples = tfds.builder_from_directory(dataset).as_dataset("train")
    found = {e["key"]: (e["tokens"], e["grid"]) for e in examples.as_numpy_iterator()}
    assert found.keys() == tokens.keys()
    for key, (row, grid) in found.items():
        np.testing.assert_array_equal(row.reshape(grid), tokens[key])


def test_a_sheet_shows_every_record_in_its_shape(dataset: Path):
    # Places are 24 x 20 pixels, four times enlarged.
    sheet = draw_sheet(str(dataset), 6, originals=True)
    assert sheet.size == (96 + 6 * (80 + 4), 2 * (96 + 4) + 8 + 4)


def test_a_stopped_job_ends_in_the_bytes_of_one_that_was_not(
    dataset: Path, make_config: MakeConfig
):
    config = make_config(buckets=BUCKETS, output={"formats": ["tfrecord", "array_record"]})
    prepared = prepare(config)
    plan = load_encoder(prepared.plan)
    (unit, *_) = set_up_work_folder(plan, prepared.output)
    assert tokenize_unit(unit, plan.job).error is None
    assert prepare(config).count_done() == 1
    summary = tokenize(config)
    assert summary.units_resumed == 1
    assert files_of(summary.directory) == files_of(dataset)


def test_rejects_that_are_repaired_give_the_bytes_of_a_run_without(
    make_config: MakeConfig, image_folder: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    whole = (folder / "cats" / "041.png").read_bytes()
    arguments = {"source": folder, "buckets": BUCKETS, "views": ["flip"]}
    expected = tokenize(make_config("expected", **arguments))
    (folder / "cats" / "041.png").write_bytes(b"no picture")
    summary = tokenize(make_config(max_reject_fraction=0.01, **arguments))
    assert (summary.images_rejected, expected.records) == (1, 200)
    (folder / "cats" / "041.png").write_bytes(whole)
    again = retry_rejects(summary.directory)
    assert (again.images_retried, again.images_rejected) == (1, 0)
    assert files_of(again.directory) == files_of(expected.directory)


def test_other_buckets_are_another_job(
    dataset: Path, image_folder: Path, tokenizer_directory: Path
):
    config = job_config(image_folder, tokenizer_directory, dataset, buckets=BUCKETS[:2])
    with pytest.raises(RequestError, match="found a dataset of another job: "):
        prepare(config)


def test_images_for_training_are_of_one_size(make_config: MakeConfig):
    with pytest.raises(RequestError, match=r"^buckets: expected images of one size, "):
        open_images(make_config(buckets=BUCKETS))


def test_recut_cuts_the_shape_of_the_bucket(dataset: Path, image_folder: Path):
    recut = Recut(str(dataset))
    for record in itertools.islice(TokenSource(dataset), 12):
        pixels = decode_image((image_folder / record["key"].decode()).read_bytes(), 3)
        rows, columns = record["grid"].tolist()
        cut = recut(pixels, record, resize="image")
        spec = ImageSpec(size=(4 * rows, 4 * columns), channels=3)
        np.testing.assert_array_equal(cut, fit_image(pixels, spec))


def test_the_example_of_the_page_decodes_a_batch(root: Path, dataset: Path):
    (block,) = re.findall(r"```python\n(.*?)```", (root / "docs/buckets.md").read_text(), re.S)
    found: dict[str, Any] = {}
    exec(block.replace("out/buckets", str(dataset)), found)
    assert found["images"].shape == (4, 4 * found["rows"], 4 * found["columns"], 3)


def test_a_damaged_grid_is_found(dataset: Path, tmp_path: Path):
    copied = Path(shutil.copytree(dataset, tmp_path / "copy"))
    path = next(copied.glob("pets-train.tfrecord-00000*"))
    records = list(PRIMARY.read(str(path)))
    example = Example.FromString(records[0])
    example.features.feature["grid"].int64_list.value[:] = [5, 4]
    with PRIMARY.open_writer(str(path)) as writer:
        writer.write([frame(example.SerializeToString()), *map(frame, records[1:])])
    problems = list(verify_dataset(str(copied)))
    wanted = "record 0: expected a grid of 4 x 4 or 3 x 5 or 6 x 3 tokens, got 5 x 4."
    assert any(problem.endswith(wanted) for problem in problems)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"buckets": [[16, 16], [18, 16]]},
            "buckets.1: expected multiples of the encoder's stride, 4 x 4 pixels per token, got "
            "18 x 16.",
        ),
        ({"buckets": [16, 16]}, "expected [height, width], got 16"),
        ({"buckets": []}, "expected a list of [height, width], got []"),
        ({"buckets": [[16, 16], [16, 16]]}, "expected each bucket once, got [[16, 16], [16, 16]]"),
        (
            {"buckets": [[16, 16]], "output": {"tokens": "int64_list"}},
            "expected output.tokens 'bytes' with buckets, because the number of tokens of an image "
            "depends on its bucket, got 'int64_list'",
        ),
    ],
)
def test_buckets_that_cannot_be_are_refused_at_planning(
    make_config: MakeConfig, changes: dict, message: str
):
    with pytest.raises((RequestError, pydantic.ValidationError)) as error:
        prepare(make_config(**changes))
    assert message in str(error.value)
