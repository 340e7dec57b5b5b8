"""From a trained prior to pictures and figures: sample, evaluate, online."""

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from builders.paths import ROOT
from click.testing import CliRunner
from PIL import Image

from examples.prior import evaluate, online, sample, train
from examples.prior.images import read_images
from examples.prior.saved import open_saved
from examples.prior.tests.prior_runs import copy_records, edit_description, tiny_run
from examples.prior.train import train_prior
from fsq.dataset import read_contract
from fsq.errors import DataError, RequestError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(
    prior_dataset: Path, prior_held_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of a run with held-out images in a dataset of their own."""
    output = tmp_path_factory.mktemp("prior") / "run"
    training = {"steps": 2, "validation_images": 16}
    train_prior(tiny_run(prior_dataset, output, held_out=str(prior_held_out), training=training))
    return output


def invoke(command: click.Command, *arguments: Any) -> str:
    done = CliRunner().invoke(
        command, list(map(str, arguments)), standalone_mode=False, catch_exceptions=False
    )
    return done.stdout


def test_a_sheet_is_the_same_for_the_same_seed_and_another_by_masks(trained: Path, tmp_path: Path):
    one, two, other, masked = (tmp_path / f"{name}.png" for name in ("1", "2", "3", "4"))
    said = invoke(sample.main, trained, "--output", one, "--per-class", 3, "--top-k", 50)
    assert said == f"{one}: {96 + 3 * 88} x 892 pixels\n"
    invoke(sample.main, trained, "--output", two, "--per-class", 3, "--top-k", 50)
    invoke(sample.main, trained, "--output", other, "--per-class", 3, "--seed", 1)
    arguments = ("--per-class", 3, "--masked", "--guidance", 2, "--steps", 4, "--temperature", 0.5)
    invoke(sample.main, trained, "--output", masked, *arguments)
    assert one.read_bytes() == two.read_bytes()
    assert len({path.read_bytes() for path in (one, other, masked)}) == 3
    assert Image.open(masked).size == (96 + 3 * 88, 892)


def test_make_prior_at_its_smallest(root: Path, prior_dataset: Path, tmp_path: Path):
    path = "examples/prior/configs/demo.yaml"
    assert f"-m examples.prior.train {path}\n" in (root / "Makefile").read_text()
    content = yaml.safe_load((root / path).read_text())
    content |= {"dataset": str(prior_dataset), "output": str(tmp_path / "prior")}
    content["training"] |= {"steps": 2, "batch_size": 16, "validation_images": 16}
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(content))
    lines = invoke(train.main, tmp_path / "demo.yaml").splitlines()
    assert lines[-1] == f"{tmp_path}/prior/samples.png"
    names = [line.split()[0] for line in lines[:-1]]
    assert names == ["steps", "held", "causal", "bigram", "unigram"]
    assert Image.open(tmp_path / "prior" / "samples.png").size == (96 + 10 * 88, 892)


def test_what_cannot_be_sampled_is_refused(trained: Path, tmp_path: Path):
    with pytest.raises(RequestError, match=r"none: expected the output of a prior, found no prior"):
        invoke(sample.main, tmp_path / "none", "--output", tmp_path / "f.png")
    for name, message in (("f.nothing", "name of an image file"), ("no/f.png", "existing folder")):
        with pytest.raises(RequestError, match=message):
            invoke(sample.main, trained, "--output", tmp_path / name, "--per-class", 1)
    causal = shutil.copytree(trained, tmp_path / "causal")
    edit_description(causal, modes=["causal"])
    with pytest.raises(RequestError, match="expected a prior with the mode 'masked', found causal"):
        invoke(sample.main, causal, "--output", tmp_path / "f.png", "--masked")
    (causal / "network.safetensors").unlink()
    with pytest.raises(RequestError, match=r"expected weights, got: .* and train again"):
        open_saved(str(causal)).load_network()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--temperature", "nan"), ("--temperature", "1e-40"), ("--guidance", "inf")],
)
def test_sampling_options_that_are_not_numbers_are_refused(
    trained: Path, tmp_path: Path, option: str, value: str
):
    for command in (sample.main, evaluate.main):
        with pytest.raises(RequestError, match=rf"^options\.{option[2:]}: expected "):
            invoke(command, trained, "--output", tmp_path / "f.png", option, value)


@pytest.mark.parametrize("command", [sample.main, evaluate.main])
@pytest.mark.parametrize("mode", ["causal", "masked"])
def test_guidance_from_a_row_that_was_never_trained_is_refused(
    trained: Path, tmp_path: Path, command: click.Command, mode: str
):
    run = shutil.copytree(trained, tmp_path / "run")
    training = json.loads((run / "prior.json").read_text())["config"]["training"]
    edit_description(run, modes=[mode], training={**training, "class_dropout": 0.0})
    with pytest.raises(RequestError) as error:
        invoke(command, run, "--output", tmp_path / "f.png", "--guidance", 3)
    assert str(error.value) == (
        f"{run}: expected --guidance 1 (none), got 3: 'no class' is never trained with "
        "training.class_dropout 0; 0.1 is usual. Remove --guidance, or train with classes and "
        "class_dropout."
    )


def test_a_directory_that_was_edited_is_refused(trained: Path, tmp_path: Path):
    edited = shutil.copytree(trained, tmp_path / "edited")
    mark = edited / "prior.json"
    for one, other in (('"heads": 2', '"heads": 4'), ("8,", "9,"), ("{", "[")):
        assert one in mark.read_text()
        mark.write_text((trained / "prior.json").read_text().replace(one, other))
        with pytest.raises(RequestError, match="expected the description of a training run, got"):
            open_saved(str(edited))
    shutil.copy(trained / "prior.json", mark)
    for name in ("tokenizer.json", "tokenizer.safetensors"):
        shutil.copy(ROOT / "tokenizers" / "cifar10" / name, edited)
    with pytest.raises(RequestError, match=r"tokenizer\.json: expected the tokenizer of the run, "):
        open_saved(str(edited))


def test_an_evaluation_is_written_as_json_and_as_a_page(trained: Path, tmp_path: Path):
    said = invoke(
        evaluate.main, trained, "--output", tmp_path, "--count", 45, "--epochs", 1, "--top-k", 9
    )
    assert (tmp_path / "evaluation.md").read_text() == said
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["images"] == 40  # as many of each class
    assert found["sampling"]["top_k"] == 9
    assert 0 <= found["named_as_asked"] <= 1
    assert found["frechet_samples"] > 0


def test_an_evaluation_wants_classes_and_held_out_images(trained: Path, tmp_path: Path):
    run = shutil.copytree(trained, tmp_path / "run")
    edit_description(run, held_out=0.1)
    with pytest.raises(RequestError, match="held-out images in a dataset or a split of their"):
        invoke(evaluate.main, run)


def test_an_evaluation_wants_the_datasets_of_the_training(
    trained: Path, prior_dataset: Path, tmp_path: Path
):
    run = shutil.copytree(trained, tmp_path / "run")
    edit_description(run, held_out=str(prior_dataset))
    with pytest.raises(RequestError, match="expected the dataset that the prior was trained with"):
        invoke(evaluate.main, run)


def test_images_are_those_of_the_records_or_none(root: Path, prior_held_out: Path, tmp_path: Path):
    contract = read_contract(prior_held_out)
    found = read_images(str(prior_held_out), contract)
    assert found.pixels.shape == (60, 28, 28, 1)
    source = prior_held_out.parent / "source"
    kept = tmp_path / "source"
    shutil.move(source, kept)
    try:
        samples = root / "samples" / "fashion_mnist"
        copy_records(samples, source, range(200, 259))
        with pytest.raises(DataError, match="expected 1 more images in the source, "):
            read_images(str(prior_held_out), contract)
        shutil.rmtree(source)
        copy_records(samples, source, range(201, 261))
        with pytest.raises(DataError, match=r"expected label \d of .*, as it was tokenized, found"):
            read_images(str(prior_held_out), contract)
    finally:
        shutil.rmtree(source)
        shutil.move(kept, source)


def test_offline_and_online_are_measured_with_the_same_step(prior_dataset: Path, tmp_path: Path):
    config = tmp_path / "run.yaml"
    run = tiny_run(prior_dataset, tmp_path / "out", modes=["causal"])
    config.write_text(yaml.safe_dump(run.model_dump(mode="json")))
    figures = tmp_path / "online.json"
    invoke(online.main, config, "--seconds", 0.1, "--rounds", 1, "--json", figures)
    found = json.loads(figures.read_text())
    rates = [value for name, value in found.items() if name.startswith("images/s")]
    assert len(rates) == 3 and min(rates) > 0
    stored, pixels = found["images/s, from shards"], found["images/s, encoded on the fly"]
    assert found["shards over encoded on the fly"] == pytest.approx(stored / pixels, rel=0.02)
    assert not (tmp_path / "out").exists()
