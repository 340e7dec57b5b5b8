"""Training a prior: it learns, goes on exactly, and refuses what does not fit before it begins."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from examples.prior.checkpoint import (
    best_nats,
    restore_checkpoint,
    save_checkpoint,
    save_network,
    steps_done,
)
from examples.prior.config import PriorConfig
from examples.prior.data import PriorData
from examples.prior.loop import train
from examples.prior.saved import build_prior, claim_directory, open_saved
from examples.prior.tests.prior_runs import carry_config, tiny_run
from examples.prior.train import describe_report, train_prior
from examples.prior.vocabulary import Vocabulary
from fsq.dataset.manifest import read_manifest
from fsq.dataset.open_dataset import open_dataset
from fsq.errors import DataError, RequestError
from fsq.storage.json_documents import render
from pipeline.job.config import TokenizeConfig
from pipeline.run import tokenize
from tools.random_tokens import write_random_tokens

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(prior_dataset: Path) -> Path:
    """200 of the sample images, tokenized with their labels."""
    return prior_dataset


@pytest.fixture(scope="module")
def trained(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a finished run."""
    output = tmp_path_factory.mktemp("prior") / "run"
    train_prior(tiny_run(demo, output, training={"sample_steps": 16}))
    return output


def weights(output: Path) -> list[np.ndarray]:
    prior = open_saved(str(output)).load_network()
    return [variable.numpy() for variable in prior.trainable_variables]


class InterruptedRun(Exception):
    pass


def stop_after(steps: int) -> Callable[[int, Any], None]:
    def progress(step: int, losses: Any) -> None:
        if step >= steps:
            raise InterruptedRun

    return progress


def test_a_run_learns_and_reports_beside_the_models_by_counting(demo: Path, trained: Path):
    report = json.loads((trained / "report.json").read_text())
    assert report["steps"] == report["of_steps"] == 24
    assert report["held_out_images"] == len(PriorData(tiny_run(demo, trained)).held_out_tokens())
    assert report["uniform"] == pytest.approx(np.log(1000))
    assert report["bigram"] < report["unigram"] < report["uniform"]
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert lines[0] == {"step": 0, "unigram": report["unigram"], "bigram": report["bigram"]}
    assert [line["step"] for line in lines if "training_loss" in line] == [10, 20, 24]
    for mode in ("causal", "masked"):
        measured = [line[f"validation_{mode}"] for line in lines if f"validation_{mode}" in line]
        assert len(measured) == 3
        assert report["nats_per_token"][mode] < measured[0] + 0.05 < np.log(1000) + 0.1
        bits = report["nats_per_token"][mode] * 49 / np.log(2) / 784
        assert report["bits_per_dimension"][mode] == pytest.approx(bits)
    assert dict(describe_report(report))["steps"] == f"24 of 24, {report['epochs']} epochs"


def test_the_sheet_has_a_row_for_each_class_and_the_interval_has_its_own(trained: Path):
    # Margin, 2 tiles of 84 and their gaps; ten rows.
    size = Image.open(trained / "samples.png").size
    assert size == (96 + 2 * 88, 10 * 88 + 3 * 4)
    assert Image.open(trained / "samples-000000016.png").size == size
    assert len(list(trained.glob("samples-*.png"))) == 1


def test_an_interrupted_run_ends_in_the_weights_of_an_undisturbed_one(
    demo: Path, trained: Path, tmp_path: Path
):
    config = tiny_run(demo, tmp_path, training={"sample_steps": 16})
    data = PriorData(config)
    claim_directory(config, data)
    with pytest.raises(InterruptedRun):
        train(build_prior(config, data.vocabulary), data, config, progress=stop_after(20))
    assert sorted(path.stem for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000012",
        "step-000000018",
    ]
    seen: list[int] = []
    prior = build_prior(config, data.vocabulary)
    train(prior, data, config, progress=lambda step, _: seen.append(step))
    assert seen == [20, 24]  # from step 18, in the middle of an epoch
    assert 18 % data.batches_per_epoch != 0
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
    names = {"step-000000018.safetensors", "step-000000024.safetensors"}
    for folder in (trained, tmp_path):
        assert {path.name for path in (folder / "checkpoints").iterdir()} == names
    for name in names:
        one, other = (folder / "checkpoints" / name for folder in (trained, tmp_path))
        assert _without_seconds(one) == _without_seconds(other)


def test_a_signal_saves_a_run_which_may_then_save_more_often(
    demo: Path, trained: Path, tmp_path: Path
):
    config = tiny_run(demo, tmp_path, training={"checkpoint_steps": 500})
    data = PriorData(config)
    claim_directory(config, data)

    def interrupt(step: int, losses: Any) -> None:
        if step == 10:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match=r"^step 11 of 24 is saved$"):
        train(build_prior(config, data.vocabulary), data, config, progress=interrupt)
    assert steps_done(str(tmp_path)) == 11
    often = tiny_run(demo, tmp_path, training={"checkpoint_steps": 7, "sample_steps": 8})
    claim_directory(often, data)
    train(build_prior(often, data.vocabulary), data, often)
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_without_a_checkpoint_blocks_no_other(demo: Path, tmp_path: Path):
    first = tiny_run(demo, tmp_path, training={"seed": 7})
    data = PriorData(first)
    claim_directory(first, data)
    save_network(str(tmp_path), build_prior(first, data.vocabulary), step=1, nats=0.0)
    (tmp_path / "log.jsonl").write_text("{}\n")
    claim_directory(tiny_run(demo, tmp_path, training={"seed": 8}), data)
    assert best_nats(str(tmp_path)) == float("inf")
    assert not (tmp_path / "log.jsonl").exists()
    assert open_saved(str(tmp_path)).config.training.seed == 8


def test_a_network_whose_checkpoints_were_removed_is_not_replaced(demo: Path, tmp_path: Path):
    first = tiny_run(demo, tmp_path, training={"seed": 7})
    data = PriorData(first)
    claim_directory(first, data)
    save_network(str(tmp_path), build_prior(first, data.vocabulary), step=1, nats=0.0)
    (tmp_path / "checkpoints").rmdir()
    with pytest.raises(RequestError, match=r"another: config training seed was 7, is 8\. "):
        claim_directory(tiny_run(demo, tmp_path, training={"seed": 8}), data)
    assert (tmp_path / "network.safetensors").exists()


def test_tokens_of_another_tokenizer_are_another_run_and_a_moved_dataset_is_not(
    demo: Path, trained: Path, tmp_path: Path
):
    moved = tiny_run(
        shutil.copytree(demo, tmp_path / "moved"), trained, training={"sample_steps": 16}
    )
    claim_directory(moved, PriorData(moved))
    data = PriorData(moved)
    contract = data.dataset.contract.model_copy(update={"weights_sha256": "0" * 64})
    data.dataset = dataclasses.replace(data.dataset, contract=contract)
    with pytest.raises(RequestError, match=r"another: tokenizer was \w+, is 0{12}\. "):
        claim_directory(moved, data)
    data = PriorData(moved)
    data.digests["dataset"] = "0" * 64
    with pytest.raises(RequestError, match=r"another: datasets dataset was .*, is 0{12}\. "):
        claim_directory(moved, data)


def _without_seconds(path: Path) -> dict[str, bytes]:
    import safetensors.numpy

    return {name: value.tobytes() for name, value in safetensors.numpy.load_file(path).items()}


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    variable = keras.Variable(np.zeros((3, 2), np.float32))
    state = {"network": [variable]}
    assert restore_checkpoint(str(tmp_path), state) == (0, 0.0)
    for step in (10, 20, 30):
        variable.assign(np.full((3, 2), step))
        save_checkpoint(str(tmp_path), state, step, step / 10)
    one, two = sorted((tmp_path / "checkpoints").iterdir())
    whole = two.read_bytes()
    two.write_bytes(whole[:-5])
    assert restore_checkpoint(str(tmp_path), state) == (20, 2.0)
    assert (variable.numpy() == 20).all()
    data = bytearray(whole)
    data[-1] ^= 64  # one bit of a weight
    two.write_bytes(data)
    assert restore_checkpoint(str(tmp_path), state) == (20, 2.0)
    one.write_bytes(b"")
    with pytest.raises(RequestError, match="that can be read, found 2 damaged"):
        restore_checkpoint(str(tmp_path), state)


@pytest.mark.parametrize("place", [-1, 3, 60, 200])
def test_a_network_with_one_bit_wrong_is_refused(trained: Path, tmp_path: Path, place: int):
    run = shutil.copytree(trained, tmp_path / "run")
    path = run / "network.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"network\.safetensors: expected weights, got: "):
        open_saved(str(run)).load_network()
    with pytest.raises(RequestError, match=r"network\.safetensors: expected weights, got: "):
        best_nats(str(run))


def test_equal_weights_are_equal_bytes(trained: Path, tmp_path: Path):
    prior = open_saved(str(trained)).load_network()
    for _ in range(8):
        save_network(str(tmp_path), prior, step=7, nats=1.5)
        assert best_nats(str(tmp_path)) == 1.5
    first = (tmp_path / "network.safetensors").read_bytes()
    assert json.loads(first[8 : 8 + int.from_bytes(first[:8], "little")])[
        "__metadata__"
    ].keys() == {"facts"}


def test_a_directory_of_something_else_is_refused_and_left_alone(demo: Path, tmp_path: Path):
    other = shutil.copytree(demo, tmp_path / "other")
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    message = refusal(tiny_run(demo, other))
    assert message.startswith(f"{other}: expected an empty directory or the output of this run, ")
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before


def test_held_out_images_that_are_trained_on_are_refused(
    root: Path, demo: Path, prior_held_out: Path, tmp_path: Path
):
    message = refusal(tiny_run(demo, tmp_path / "run", held_out=str(demo)))
    assert message.startswith(f"{demo}: expected images that are not trained on, found those of ")
    config = carry_config(root, tmp_path / "again")
    config["output"]["tokens"] = "int64_list"
    tokenize(TokenizeConfig.model_validate(config), limit=100)
    message = refusal(tiny_run(demo, tmp_path / "run", held_out=str(tmp_path / "again")))
    assert "found 100 of 100 with the tokens of a training image" in message
    assert PriorData(tiny_run(demo, tmp_path / "run", held_out=str(prior_held_out)))


def test_held_out_images_of_other_classes_are_refused(
    root: Path, demo: Path, prior_held_out: Path, tmp_path: Path
):
    source = shutil.copytree(prior_held_out.parent / "source", tmp_path / "source")
    names = source / "label.labels.txt"
    names.write_text(names.read_text().replace("Trouser", "Trousers"))
    config = carry_config(root, tmp_path / "other")
    config["source"]["directory"] = str(source)
    tokenize(TokenizeConfig.model_validate(config))
    message = refusal(tiny_run(demo, tmp_path / "run", held_out=str(tmp_path / "other")))
    assert "found 'Trousers' as number 1 instead of 'Trouser'" in message


def test_minutes_end_a_run_which_goes_on_when_it_is_given_more(demo: Path, tmp_path: Path):
    times = iter(range(0, 10_000, 10))  # ten seconds each time that somebody looks
    config = tiny_run(demo, tmp_path, modes=["causal"], training={"minutes": 1})
    report = train_prior(config, clock=lambda: float(next(times)))
    assert report["steps"] == 6
    assert "ended by training.minutes" in dict(describe_report(report))["steps"]
    assert (tmp_path / "samples.png").exists()
    data = PriorData(config)
    assert train(build_prior(config, data.vocabulary), data, config) == 6
    more = tiny_run(demo, tmp_path, modes=["causal"], training={"minutes": 10})
    claim_directory(more, data)
    assert train(build_prior(more, data.vocabulary), data, more) == 24


def test_a_loss_that_is_not_finite_stops_the_run(demo: Path, tmp_path: Path):
    config = tiny_run(demo, tmp_path, modes=["causal"])
    data = PriorData(config)
    claim_directory(config, data)
    prior = build_prior(config, data.vocabulary)
    prior.positions.assign(prior.positions * np.nan)
    with pytest.raises(DataError, match="step 10: expected a finite loss, got nan"):
        train(prior, data, config)


def test_held_out_images_are_never_trained_on(demo: Path, tmp_path: Path):
    data = PriorData(tiny_run(demo, tmp_path))
    held_out = {row.tobytes() for row in data.held_out_tokens()}
    assert 20 < len(held_out) < 60
    batches = data.training_batches(0)
    for _ in range(2 * data.batches_per_epoch):
        batch = next(batches)
        rows = batch.tokens[:, 1:]
        assert [row.tobytes() in held_out for row in rows] == (~batch.counted).tolist()
    assert len(data.training_tokens()) + len(data.held_out_tokens()) == 200
    counted = sum(int(batch.counted.sum()) for batch in data.held_out_batches())
    assert counted == len(data.held_out_tokens())
    assert [b.counted.sum() for b in data.held_out_batches(limit=20)] == [16, 4]


def test_a_batch_follows_from_its_step_alone(demo: Path, tmp_path: Path):
    data = PriorData(tiny_run(demo, tmp_path))
    batches = data.training_batches(0)
    taken = [next(batches).tokens for _ in range(15)]
    assert data.batches_per_epoch == 12
    for step in (5, 12, 14):
        np.testing.assert_array_equal(next(data.training_batches(step)).tokens, taken[step])
    assert (taken[0] != taken[12]).any()


def refusal(config: PriorConfig) -> str:
    with pytest.raises(RequestError) as error:
        train_prior(config)
    assert not (Path(config.output) / "checkpoints").exists()
    return str(error.value)


def test_a_dataset_of_another_vocabulary_than_the_checkpoints_is_refused(
    trained: Path, tmp_path: Path
):
    for name, levels, side in (("levels", (5, 5, 5), 7), ("grid", (8, 5, 5, 5), 4)):
        write_random_tokens(tmp_path / name, images=64, levels=levels, side=side)
    with pytest.raises(RequestError) as error:
        claim = tiny_run(tmp_path / "levels", trained)
        claim_directory(claim, PriorData(claim))
    assert str(error.value) == (
        f"{tmp_path}/levels: expected a vocabulary of 1,000 tokens, as the prior was trained with, "
        "found 125. Use a dataset that has them, or train another prior."
    )
    with pytest.raises(RequestError, match=r"a grid of 7 x 7 tokens, .* found 4 x 4"):
        claim = tiny_run(tmp_path / "grid", trained)
        claim_directory(claim, PriorData(claim))


def test_held_out_tokens_of_another_tokenizer_are_refused(demo: Path, tmp_path: Path):
    write_random_tokens(tmp_path / "other", images=64, side=7)
    message = refusal(tiny_run(demo, tmp_path / "run", held_out=str(tmp_path / "other")))
    assert "expected 10 classes, as 'dataset' has, found 5" in message
    unlabelled = tiny_run(demo, tmp_path / "run", held_out=str(tmp_path / "other"), classes=False)
    assert f"expected tokens of the tokenizer of {demo}, " in refusal(unlabelled)


def test_too_short_sequences_are_refused(demo: Path):
    dataset = open_dataset(str(demo))
    contract = dataset.contract.model_copy(update={"grid": (1, 1)})
    with pytest.raises(RequestError) as error:
        Vocabulary.of(dataclasses.replace(dataset, contract=contract), classes=True)
    assert str(error.value) == (
        f"{demo}: expected sequences of at least 2 tokens, so that one follows another, got 1. "
        "Tokenize with a finer grid."
    )


def test_a_dataset_of_several_grids_is_refused(demo: Path):
    dataset = open_dataset(str(demo))
    contract = dataset.contract.model_copy(update={"buckets": ((28, 28), (24, 32))})
    with pytest.raises(RequestError) as error:
        Vocabulary.of(dataclasses.replace(dataset, contract=contract), classes=True)
    assert str(error.value) == (
        f"{demo}: expected images of one grid, found 7 x 7 or 6 x 8 tokens. Tokenize without "
        "buckets."
    )


def test_an_empty_split_and_an_empty_side_of_it_are_refused(demo: Path, tmp_path: Path):
    shutil.copytree(demo, tmp_path / "empty")
    manifest = tmp_path / "empty" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["splits"]["test"]["records"] = 0
    manifest.write_bytes(render(content))
    message = f"{tmp_path}/empty: expected at least one record, found none in split 'test'."
    assert refusal(tiny_run(tmp_path / "empty", tmp_path / "run")) == message
    assert message == refusal(tiny_run(demo, tmp_path / "run", held_out=str(tmp_path / "empty")))
    message = refusal(tiny_run(demo, tmp_path / "run", held_out=1e-9))
    assert "found 200 to train on and 0 held out" in message
    assert "expected at least 256 records" in refusal(
        tiny_run(demo, tmp_path / "run", training={"batch_size": 256})
    )


def test_a_share_of_images_with_several_views_is_refused(tmp_path: Path):
    write_random_tokens(tmp_path / "views", images=64, side=7, views=("center", "center_flipped"))
    message = refusal(tiny_run(tmp_path / "views", tmp_path / "run"))
    assert "one view per image when held_out is a share, found center, center_flipped" in message


def test_a_dataset_without_labels_is_refused_where_classes_are_asked_for(
    root: Path, tmp_path: Path
):
    config = carry_config(root, tmp_path / "plain")
    config["source"]["carry"] = []
    tokenize(TokenizeConfig.model_validate(config), limit=64)
    message = refusal(tiny_run(tmp_path / "plain", tmp_path / "run"))
    assert message == (
        f"{tmp_path}/plain: expected records with a label of named classes, found crop, flip, "
        "key, source_size, tokens, view. Tokenize it with 'carry: [label]', or set "
        "'classes: false'."
    )
    without = tiny_run(tmp_path / "plain", tmp_path / "run", classes=False)
    data = PriorData(without)
    assert set(next(data.training_batches(0)).tokens[:, 0].tolist()) == {1000}
    assert data.vocabulary.no_class == 1000


def test_the_output_of_another_run_is_refused(demo: Path, trained: Path):
    config = tiny_run(demo, trained, training={"sample_steps": 16, "learning_rate": 0.1})
    with pytest.raises(RequestError, match=r"another: config training learning_rate was 0\.003"):
        claim_directory(config, PriorData(config))


def test_the_command_says_a_mistake_in_one_line_and_exits_with_2(root: Path, tmp_path: Path):
    (tmp_path / "run.yaml").write_text(
        f"dataset: {tmp_path}/none\nheld_out: 0.1\ntraining: {{steps: 10}}\noutput: run\n"
    )
    for text, message in (
        ("", f"prior train: {tmp_path}/none: expected a finished dataset"),
        ("vocab_size: 1000\n", "prior train: run.yaml.vocab_size: unknown key"),
    ):
        config = tmp_path / "run.yaml"
        config.write_text(config.read_text() + text)
        done = subprocess.run(
            [sys.executable, "-m", "examples.prior.train", "run.yaml"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(root), "PATH": ""},
        )
        assert done.returncode == 2
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1


def test_what_was_never_dropped_is_sampled_without_guidance(tmp_path: Path):
    config = tiny_run(tmp_path, tmp_path, training={"class_dropout": 0}, samples={"guidance": 1})
    assert config.samples.guidance == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": []}, "modes"),
        ({"modes": ["causal", "causal"]}, "expected each mode once"),
        ({"network": {"width": 10, "heads": 4}}, "width as a multiple of heads, 4, got 10"),
        ({"training": {"sample_steps": 3}}, "sample_steps as a multiple of validation_steps, 8"),
        ({"held_out": 0.9}, "the directory of a dataset, or a share above 0 and at most 0.5, got"),
        ({"held_out": None}, "the directory of a dataset, or a share above 0 and at most 0.5, got"),
        ({"network": {"width": 10**19}}, "less than or equal to 8192"),
        *(
            (
                {
                    "modes": [mode],
                    "training": {"class_dropout": 0},
                    "samples": {"guidance": guidance},
                },
                rf"samples\.guidance 1 \(none\), got {guidance:g}: 'no class' is never trained",
            )
            for mode in ("causal", "masked")
            for guidance in (0, 0.5, 3.0)
        ),
        (
            {"classes": False, "samples": {"guidance": 1.5}},
            r"expected samples\.guidance 1 \(none\), got 1\.5: a prior without classes has nothing",
        ),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path: Path, changes: Any, message: str):
    with pytest.raises(ValueError, match=message):
        tiny_run(tmp_path, tmp_path, **changes)


def test_a_prior_is_trained_on_one_split_and_validated_on_another(root: Path, tmp_path: Path):
    fields = carry_config(root, tmp_path / "tokens")
    fields["output"] |= {"split": {"train": 0.8, "val": 0.2}}
    tokenize(TokenizeConfig.model_validate(fields), limit=500)
    run = tiny_run(tmp_path / "tokens", tmp_path / "run", split="train", held_out="val")
    data = PriorData(run)
    rows = data.training_tokens(), data.held_out_tokens()
    counts = {name: entry.images for name, entry in read_manifest(run.dataset).splits.items()}
    assert counts == {"train": len(rows[0]), "val": len(rows[1])}
    with pytest.raises(RequestError, match="expected images that are not trained on, found those"):
        PriorData(tiny_run(tmp_path / "tokens", tmp_path / "run", split="val", held_out="val"))
    with pytest.raises(RequestError, match="expected one of its splits, found 'train', 'val'"):
        PriorData(tiny_run(tmp_path / "tokens", tmp_path / "run", held_out="val"))
    swapped = PriorData(
        tiny_run(tmp_path / "tokens", tmp_path / "run", split="val", held_out="train")
    )
    assert swapped.digests != data.digests
